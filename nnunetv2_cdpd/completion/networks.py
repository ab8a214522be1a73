"""Networks: what the folds of teachers say of an image, by nnU-Net's predictor or ours, as probabilities on its grid.

A softmax says of each class what it says of its labels together, against all others, so that overlapping classes and those of
other teachers can be looked at one by one, as those of sigmoid heads.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunetv2_cdpd.completion.seen import FoldId
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.teachers import Teacher
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.devices import chosen_device
from nnunetv2_cdpd.inference.export import Geometry, place_logits, probability_slabs
from nnunetv2_cdpd.inference.models import load_model
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import CasePreprocessor, PreprocessedCase
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.quality.collect import PathSettings
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import CheckedReader


@dataclass(frozen=True)
class Answer:
    """What one network says of an image.

    logits: Class of the dataset -> (x, y, z) on the network's grid, half precision.
    at_most: Class of which something is undecided -> the same with all that may be of it.
    geometry: Where they belong in the image.
    grid: Of the image, as the teacher reads it.
    """

    teacher: str
    fold: FoldId
    logits: Mapping[int, Tensor]
    geometry: Geometry
    grid: Grid
    at_most: Mapping[int, Tensor] = field(default_factory=dict)

    def probability(self, k: int) -> np.ndarray:
        """float16 (Z, Y, X) of a class, on the grid of the image."""
        return self._on_image(self.logits[k])

    def probability_at_most(self, k: int) -> np.ndarray:
        """The same with all that may be of the class."""
        return self._on_image(self.at_most.get(k, self.logits[k]))

    def _on_image(self, logit: Tensor) -> np.ndarray:
        return np.concatenate([slab.astype(np.float16) for slab in probability_slabs(logit, self.geometry)])


class Networks:
    """The networks of teachers, each loaded when it is first asked.

    Args:
        device: None: a GPU if there is one.
    """

    def __init__(self, settings: CompletionSettings, device: str | None = None) -> None:
        self.settings, self.device = settings, chosen_device(device)
        self._loaded: dict[tuple[str, FoldId], nnUNetPredictor] = {}

    def answers(
        self, teacher: Teacher, folds: Sequence[FoldId], images: Sequence[Path], classes: Sequence[int]
    ) -> Iterator[Answer]:
        """What folds of a teacher say of an image, one after the other.

        Args:
            images: One file per channel.
            classes: Of the dataset, those that the teacher is to tell of.

        Raises:
            UserError: A model file or an image cannot be read.
        """
        case: PreprocessedCase | None = None
        for fold in folds:
            predictor = self._predictor(teacher, fold)
            if case is None:  # the same for all folds of a model
                case = _preprocessed(predictor, images)
            parts = [teacher.knows[k] for k in classes]
            open_classes = [k for k in classes if k in teacher.undecided]
            parts += [(*teacher.knows[k], *teacher.undecided[k]) for k in open_classes]
            asked = sorted({own for its in parts for own in its})
            logits, rows = _logits(predictor, case.data, [teacher.annotation.classes[own] for own in asked])
            softmax = not predictor.label_manager.has_regions
            told = torch.stack([_of_class(logits, _rows(teacher, its, rows, predictor), softmax) for its in parts]).half()
            placed, geometry = place_logits(told, predictor.plans_manager, predictor.configuration_manager, case.properties)
            grid = Grid.of_array(geometry.image_shape, case.properties)
            at_most = dict(zip(open_classes, placed[len(classes) :]))
            yield Answer(teacher.name, fold, dict(zip(classes, placed)), geometry, grid, at_most)

    def _predictor(self, teacher: Teacher, fold: FoldId) -> nnUNetPredictor:
        key = teacher.name, fold
        if key not in self._loaded:
            self._loaded[key] = self._load(teacher, fold)
        return self._loaded[key]

    def _load(self, teacher: Teacher, fold: FoldId) -> nnUNetPredictor:
        model = load_model(teacher.folder, [fold], teacher.checkpoint_name)
        if (stage := model.configuration_manager.previous_stage_name) is not None:
            raise UserError(f"{teacher.folder}: a cascade, which needs predictions of {stage}; give a model of one stage")
        settings = PathSettings(self.settings.step_size, self.settings.tta)
        if isinstance(model.network, CDPDNet):
            return settings.predictor(teacher.folder, [fold], teacher.checkpoint_name, device=self.device)
        with contextlib.redirect_stdout(io.StringIO()):  # of a setting that it changes for the CPU
            predictor = nnUNetPredictor(
                settings.step_size, True, settings.tta, self.device.type != "cpu", self.device, False, False, False
            )
            predictor.manual_initialization(*model)
        return predictor


def _preprocessed(predictor: nnUNetPredictor, images: Sequence[Path]) -> PreprocessedCase:
    if isinstance(predictor, Predictor):
        return predictor.preprocess_files(images)
    plans = predictor.plans_manager
    reader = CheckedReader(plans.image_reader_writer_class())
    return CasePreprocessor(plans, predictor.configuration_manager, predictor.dataset_json, reader).files(images)


def _logits(predictor: nnUNetPredictor, data: Tensor, names: Sequence[str]) -> tuple[Tensor, dict[str, int] | None]:
    """(n, x, y, z) of a network, and the row of each class; None: all of nnU-Net's heads, in its order.

    Args:
        names: Classes that have to be among them.
    """
    rows: dict[str, int] | None = None
    if isinstance(predictor, Predictor):
        predictor.select(names)
        rows = {predictor.annotation.classes[k]: row for row, k in enumerate(predictor.selection.needed)}
    logits = predictor.predict_logits_from_preprocessed_data(data)
    if not torch.isfinite(logits).all():
        raise UserError("the network gives values that are no finite numbers; the training failed, take another checkpoint")
    return logits.float(), rows


def _rows(teacher: Teacher, own: Sequence[int], rows: Mapping[str, int] | None, predictor: nnUNetPredictor) -> list[int]:
    """The heads of classes of a teacher."""
    if rows is not None:
        return [rows[teacher.annotation.classes[index]] for index in own]
    labels: Any = predictor.label_manager
    if labels.has_regions:  # one head each, in the order of the classes
        return list(own)
    return [list(labels.all_labels).index(teacher.annotation.values[index]) for index in own]


def _of_class(logits: Tensor, rows: Sequence[int], softmax: bool) -> Tensor:
    """Logit (x, y, z) of a class: of a softmax that of its heads together against the others, else of its most probable head."""
    if not softmax:
        return logits[list(rows)].amax(0)
    others = [row for row in range(len(logits)) if row not in rows]
    return torch.logsumexp(logits[list(rows)], 0) - torch.logsumexp(logits[others], 0)
