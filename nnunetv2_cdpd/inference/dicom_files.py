"""DICOM files of predictions: what a model's classes are as segments, and its label maps on the slices that an archive has."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.classes import coded_class
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.formats import DICOM_LABELMAP, RTSTRUCT
from nnunetv2_cdpd.inference.inputs import Tell
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import PathLike
from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.volumes.dicom.derived_object import Algorithm, Segment
from nnunetv2_cdpd.volumes.dicom.write_segmentation import BINARY, LABELMAP, write_segmentation
from nnunetv2_cdpd.volumes.dicom.write_structure_set import write_structure_set
from nnunetv2_cdpd.volumes.grid import Grid

_PROGRAM = "nnunetv2-cdpd"


@dataclass(frozen=True)
class DicomFiles:
    """Writes predictions of a model as DICOM.

    tell: Hears what the files leave out.
    """

    predictor: Predictor
    tell: Tell = warnings.warn

    @cached_property
    def algorithm(self) -> Algorithm:
        predictor = self.predictor
        folder = predictor.model_files[0].absolute().parent.name if predictor.model_files else ""
        model = f"{predictor.plans_manager.dataset_name} {folder}".strip()
        return Algorithm(_PROGRAM, __version__, model, weights_digest(predictor.list_of_parameters))

    def segments(self, prediction: Prediction) -> list[Segment]:
        """The classes of a prediction, in the colours that they have in the model's pages."""
        palette = Palette.of(self.predictor.annotation.classes)
        return [
            Segment(value, prediction.regions[name], name, *coded_class(name), palette.colour(name))
            for name, value in prediction.values.items()
        ]

    def write(self, path: PathLike, output_format: str, prediction: Prediction) -> None:
        """`write_formats` of one."""
        self.write_formats({output_format: path}, prediction)

    def write_formats(self, files: Mapping[str, PathLike], prediction: Prediction) -> None:
        """Write files of formats of `DICOM_ENDINGS`.

        Args:
            files: Format -> file.

        Raises:
            UserError: The image was no DICOM series, or lies on another grid than the series.
        """
        source, labels = prediction.source, prediction.label_map
        for file in files.values() if source is None else ():
            raise UserError(f"{file}: {', '.join(files)} is written of a DICOM series only; give one as the image")
        if not files or source is None:
            return
        on_slices = source.slices.on_slices(labels.T, Grid.of_properties(labels.shape, prediction.properties))
        lost = np.count_nonzero(labels) - np.count_nonzero(on_slices) if source.slices.is_tilted else 0
        if lost:
            self.tell(f"{source.slices.slices[0].path.parent}: {lost} labelled voxels lie beside the slices, in no DICOM file")
        segments = self.segments(prediction)
        for name, file in files.items():
            if name == RTSTRUCT:
                write_structure_set(Path(file), on_slices, source, segments, self.algorithm)
            else:
                kind = LABELMAP if name == DICOM_LABELMAP else BINARY
                write_segmentation(Path(file), on_slices, source, segments, self.algorithm, kind)
