"""Predicting: what happens in the process that holds the models: one image after the other, files in, files out."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from nnunetv2_cdpd.datasets.dataset_json import channel_names
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.dicom_files import DicomFiles
from nnunetv2_cdpd.inference.formats import check_formats
from nnunetv2_cdpd.inference.inputs import Case, modality_of, opened, source_of
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.sliding_window import ReportWindows
from nnunetv2_cdpd.inference.statistics import prediction_statistics
from nnunetv2_cdpd.jobs import scratch_folder, write_json, written_beside
from nnunetv2_cdpd.serve.archive import unpack_slices
from nnunetv2_cdpd.serve.kinds import ZIP
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.store import RESULT_FILE, STATISTICS_FILE, dicom_file, label_map_file
from nnunetv2_cdpd.volumes.dicom import find_series
from nnunetv2_cdpd.volumes.nifti import NiftiFile, is_nifti
from nnunetv2_cdpd.volumes.reading import CheckedReader, read_sitk, write_sitk


@dataclass(frozen=True)
class PredictionRequest:
    """What the server asks for; see `ServedJob`.

    folder: Of the job, in which its result appears.
    """

    folder: Path
    model: str
    classes: Sequence[str] | None
    task: str | None
    files: Sequence[Path]
    is_series: bool
    ending: str
    is_packed: bool
    formats: Sequence[str]


class LoadedModels:
    """The models of a server, by name.

    Args:
        folders: Of the models.
        settings: Of `Predictor.from_folder`.

    Raises:
        UserError: A model cannot be loaded, or is a cascade's upper stage.
    """

    def __init__(self, folders: Mapping[str, Path], limits: Limits, settings: Mapping[str, Any], report: ReportWindows) -> None:
        self._limits = limits
        self._predictors = {name: _loaded(folder, settings, report) for name, folder in folders.items()}

    def described(self) -> dict[str, dict[str, Any]]:
        """What clients may ask of each model, JSON-able: classes with their values, tasks with the classes of each, channels."""
        return {name: _described(predictor) for name, predictor in self._predictors.items()}

    def predict(self, request: PredictionRequest, tell: Callable[[str], None]) -> dict[str, int]:
        """Predict one image; its result appears as a whole.

        Args:
            tell: Hears what is particular about the image.

        Returns:
            Class -> value in the label map.

        Raises:
            UserError: The image cannot be read, is too large, or does not suit the model.
        """
        predictor, notes = self._predictors[request.model], []

        def note(line: str) -> None:
            notes.append(without_paths(line, request))
            tell(notes[-1])

        predictor.select(request.classes, task=request.task)
        case = self._case(request, predictor, note)
        if request.formats:
            check_formats(request.formats)
        source = source_of(case) if request.formats else None
        with opened(case, predictor.writer, note) as files:
            self._check_size(files, predictor)
            prediction = replace(predictor.export(predictor.label(predictor.preprocess_files(files))), source=source)
            image = predictor.writer.read_images(files[:1])[0][0]
        with written_beside(request.folder / "result") as beside:
            beside.mkdir(mode=0o700)
            statistics = prediction_statistics(prediction, image, channel_names(predictor.dataset_json)[0])
            write_json(beside / STATISTICS_FILE, statistics)
            path = beside / label_map_file(request.ending)
            _write_label_map(prediction, path, predictor.writer, request.is_packed)
            DicomFiles(predictor, note).write_formats({name: beside / dicom_file(name) for name in request.formats}, prediction)
            write_json(beside / RESULT_FILE, {"notes": notes, "values": dict(prediction.values)})
        return dict(prediction.values)

    def _case(self, request: PredictionRequest, predictor: Predictor, tell: Callable[[str], None]) -> Case:
        files, modality = list(request.files), modality_of(predictor.dataset_json)
        if request.is_series and [file.suffix for file in files] == [ZIP]:
            folder = request.folder / "series"
            folder.mkdir(mode=0o700)
            if others := unpack_slices(files[0], folder, self._limits.unpacked_bytes):
                tell(f"{others} files of the zip are no DICOM and were passed over")
            files = sorted(folder.iterdir())
            if not files:
                raise UserError("the zip holds no DICOM file; send the slices of one series")
        elif not request.is_series:
            for file in files:
                self._limits.check_voxels(math.prod(_size_and_spacing(file)[0]), 0)
            return Case("image", tuple(files), channels=tuple(range(len(files))))
        found, passed_over, _ = find_series(files, modality)
        if passed_over:
            tell(f"passed over: {', '.join(passed_over)}")
        if len(found) != 1:
            there = f"{len(found)} series ({', '.join(map(str, found))})" if found else "no series of slices"
            raise UserError(f"{there}{f' of {modality}' if modality and not found else ''} in what was sent; send one")
        slices = [part for header in found[0].headers for part in header.slices]
        self._limits.check_voxels(sum(math.prod(part.size) for part in slices), 0)
        return Case("image", found[0].files, True, modality)

    def _check_size(self, files: Sequence[Path], predictor: Predictor) -> None:
        """Raise UserError for an image that is larger than the server takes, at the model's spacing."""
        for file in files:
            size, spacing = _size_and_spacing(file)
            target = predictor.configuration_manager.spacing
            order = predictor.plans_manager.transpose_forward
            spacing_of_axes = [spacing[::-1][axis] for axis in order][-len(target) :]
            voxels = math.prod(size)
            self._limits.check_voxels(voxels, voxels * math.prod(spacing_of_axes) / math.prod(target))


def without_paths(line: str, request: PredictionRequest) -> str:
    """A line for a client, who knows no folder of this machine."""
    folders = {request.folder, *(file.parent for file in request.files)}
    for folder in sorted(map(str, folders), key=len, reverse=True):
        line = line.replace(f"{folder}{os.sep}", "").replace(folder, "the image")
    return re.sub(rf"{re.escape(tempfile.gettempdir())}[/\\\\][^\s:,;()]*[/\\\\]", "", line)


def _loaded(folder: Path, settings: Mapping[str, Any], report: ReportWindows) -> Predictor:
    predictor = Predictor.from_folder(folder, report=report, **settings)
    if (lower_stage := predictor.configuration_manager.previous_stage_name) is not None:
        raise UserError(f"{folder}: this model is a cascade, which needs the predictions of {lower_stage}; serve another one")
    return predictor


def _described(predictor: Predictor) -> dict[str, Any]:
    annotation, network = predictor.annotation, predictor.network.network
    tasks = {}
    for source in annotation.sources if network.task_prompt is not None else ():
        tree = ClassTree.of(annotation, annotation.annotated_with_merged(source))
        tasks[source.name] = [annotation.classes[k] for k in tree.classes]
    return {
        "classes": dict(zip(annotation.classes, annotation.values)),
        "merged": {label.name: label.value for label in annotation.merged_labels},
        "tasks": tasks,
        "channels": list(channel_names(predictor.dataset_json)),
        "dimension": len(predictor.configuration_manager.patch_size),
    }


def _size_and_spacing(file: Path) -> tuple[Sequence[int], Sequence[float]]:
    """Of a volume, x, y, z, as its header says it.

    Raises:
        UserError: There is no header that can be read, or the volume is of another number of axes.
    """
    if is_nifti(file):
        header = NiftiFile(file, several=True)
        return header.image.shape, header.grid.spacing.tolist()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(f"{file.name}: is no image that can be read; is it damaged?") from error
    if reader.GetDimension() not in (2, 3):
        raise UserError(f"{file.name}: an image of {reader.GetDimension()} axes, and 3 are taken")
    size = [*reader.GetSize(), 1][:3]
    return [*size, reader.GetNumberOfComponents()], [*reader.GetSpacing(), 1.0][:3]


def _write_label_map(prediction: Prediction, path: Path, writer: CheckedReader, is_packed: bool) -> None:
    """Write the label map in a format of the client's, which the model's writer may not write, or only packed."""
    endings = writer.supported_file_endings
    if path.name.endswith(tuple(endings)) and (is_packed or path.suffix in (".gz", ".nii")):
        prediction.write_label_map(path, writer)
        return
    with scratch_folder("serve") as folder:
        written = folder / f"label_map{endings[0]}"
        prediction.write_label_map(written, writer)
        write_sitk(read_sitk(written), path)
