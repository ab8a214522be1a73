"""DICOM files of predictions: what a model's classes are as segments, and its label maps on the slices that an archive has."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.classes import coded_class
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.formats import DICOM_LABELMAP, RTSTRUCT
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.volumes.dicom.derived_object import Algorithm, Segment
from nnunetv2_cdpd.volumes.dicom.write_segmentation import BINARY, LABELMAP, write_segmentation
from nnunetv2_cdpd.volumes.dicom.write_structure_set import write_structure_set
from nnunetv2_cdpd.volumes.grid import Grid

_PROGRAM = "nnunetv2-cdpd"


@dataclass(frozen=True)
class DicomFiles:
    """Writes predictions of a model as DICOM."""

    predictor: Predictor

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

    def write(self, path: Path, output_format: str, prediction: Prediction) -> None:
        """Write a file of one of `DICOM_ENDINGS`.

        Raises:
            UserError: The image was no DICOM series, or lies on another grid than the series.
        """
        source = prediction.source
        if source is None:
            raise UserError(f"{path}: {output_format} is written of a DICOM series only; give one as the image")
        labels = prediction.label_map
        grid = Grid.of_properties(labels.shape, prediction.properties)
        on_slices = source.slices.on_slices(labels.T, grid)
        segments = self.segments(prediction)
        if output_format == RTSTRUCT:
            write_structure_set(path, on_slices, source, segments, self.algorithm)
        else:
            kind = LABELMAP if output_format == DICOM_LABELMAP else BINARY
            write_segmentation(path, on_slices, source, segments, self.algorithm, kind)
