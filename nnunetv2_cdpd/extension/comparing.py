"""Comparing a model before and after it was extended: Dice where truth is at hand, agreement of both elsewhere."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset
from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.evaluation.matching import classes_named
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.evaluation.nesting import Alike, nested_alike, told_nesting
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.jobs.tables import aligned

MOST_CASES = 20  # of a dataset


@dataclass(frozen=True)
class ClassChange:
    """A class in the cases of a dataset.

    truth: Whether the dataset annotates it; else `before` is None and `after` the Dice of both models' predictions.
    before: Mean Dice of the model, None also where it does not know the class.
    """

    dataset: str
    name: str
    cases: int
    truth: bool
    before: float | None
    after: float


def compare_models(
    before: Path, after: Path, datasets: Sequence[RawDataset], device: torch.device, report: Callable[[str], None], **options: Any
) -> list[ClassChange]:
    """Predict the cases of some datasets with both models, and compare; of a dataset at most 20 cases, evenly chosen.

    Args:
        report: Hears of cases that cannot be predicted.
        options: folds and checkpoint_name of the model before.
    """
    former, extended = Predictor.from_folder(before, device=device, **options), Predictor.from_folder(after, device=device)
    found = []
    for dataset in datasets:
        scores: dict[tuple[str, bool], list[tuple[float | None, float]]] = {}
        alike = nested_alike(replace(dataset.annotation, case_source=None), extended.annotation)
        if alike.nested:
            report(f"note: {dataset.name}: {told_nesting(alike.nested)}")
        chosen = dataset.cases[:: -(-len(dataset.cases) // MOST_CASES)]
        for case in chosen:
            try:
                for key, pair in _scores(dataset, case, former, extended, alike):
                    scores.setdefault(key, []).append(pair)
            except UserError as error:
                report(f"note: {dataset.name}: case {case.identifier!r} is not compared: {one_line(error)}")
        for (name, truth), pairs in scores.items():
            known = [first for first, _ in pairs if first is not None]
            mean = float(np.mean(known)) if known else None
            found.append(ClassChange(dataset.name, name, len(pairs), truth, mean, float(np.mean([last for _, last in pairs]))))
    return found


def change_table(changes: Sequence[ClassChange]) -> str:
    """A row for each dataset and class."""
    rows = [("dataset", "class", "cases", "before", "after", "Dice")]
    for one in sorted(changes, key=lambda one: not one.truth):
        what = "with the annotation" if one.truth else "of one model with the other"
        first = "-" if one.before is None else f"{one.before:.3f}"
        rows.append((one.dataset, one.name, str(one.cases), first, f"{one.after:.3f}", what))
    return "\n".join(aligned(rows, left=2, last_is_total=False))


def _scores(
    dataset: RawDataset, case: RawCase, former: Predictor, extended: Predictor, alike: Alike
) -> Iterator[tuple[tuple[str, bool], tuple[float | None, float]]]:
    files = [dataset.path(image) for image in case.images]
    before, after = (predictor.predict(files if len(files) > 1 else files[0]) for predictor in (former, extended))
    read, _ = extended.writer.read_seg(dataset.path(case.label))
    label_map = checked_label_map(read, dataset.annotation, f"label {case.label}")
    source = dataset.annotation.source_index(case.identifier)
    # The former classes keep their stored values, so the extended model's labels hold for what both say.
    truths = [_dice_with_truth(label_map, predicted.label_map, alike, source) for predicted in (before, after)]
    for name in extended.annotation.classes:
        known = name in former.annotation.classes
        if name in truths[1]:
            first, last = truths[0][name] if known else None, truths[1][name]
        else:
            first, last = None, dice_of(before.mask(name), after.mask(name)) if known else None
        if last is not None:
            yield (name, name in truths[1]), (first, last)


def _dice_with_truth(label_map: np.ndarray, predicted: np.ndarray, alike: Alike, source: int) -> dict[str, float | None]:
    """Class of the model that the dataset annotates -> Dice; None: it is in neither."""
    scores = case_metrics(
        label_map,
        predicted,
        (1.0,) * label_map.ndim,
        reference=alike.reference,
        source=source,
        prediction=alike.prediction,
        tolerance_mm=None,
    )
    found: dict[str, float | None] = {}
    for name in alike.reference.classes:
        called = classes_named(alike.prediction, name, frozenset({name}))
        if name in scores and len(called) == 1:
            dice = scores[name]["Dice"]
            found[next(iter(called))] = None if math.isnan(dice) else dice
    return found


def dice_of(one: np.ndarray, other: np.ndarray) -> float | None:
    """Dice of two masks; None: both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else None
