"""Collecting: every network of a cross-validation on the cases that it has not seen, by the way of `cdpd predict`, and the truth.

A case leaves a small file; a collection that was stopped goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.inference.host_predictor import hosts_threads
from nnunetv2_cdpd.inference.models import weights_digest
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.statistics import is_flat
from nnunetv2_cdpd.jobs import Outcome, digest, file_state, in_processes, read_sealed, run, write_sealed
from nnunetv2_cdpd.quality.degraded import DEGRADATIONS
from nnunetv2_cdpd.quality.facts import (
    VERSION,
    Facts,
    facts_of,
    nearest_on_network_grid,
    network_spacing,
    reference_places,
    watched,
)
from nnunetv2_cdpd.quality.sums import BlockSums
from nnunetv2_cdpd.quality.unseen import check_has_unseen_cases

CASES_FOLDER = "cdpd_quality_cases"  # in the model folder


@dataclass(frozen=True)
class PathSettings:
    """What of the settings of a prediction changes probabilities or label map: a calibration holds for the same only.

    place: Digest of what the clean-up knows of place (`Predictor.place_digest`); None: nothing.
    """

    step_size: float = 0.5
    tta: bool = True
    align_windows: bool = False
    clean: bool = False
    place: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-able; without place where there is none, as of calibrations from before it was looked at."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def predictor(self, folder: Path, folds: Sequence[int | str], checkpoint_name: str, **more: Any) -> Predictor:
        """A predictor with these settings, which is to predict all classes under the universal task."""
        found = Predictor.from_folder(
            folder,
            folds,
            checkpoint_name=checkpoint_name,
            tile_step_size=self.step_size,
            use_mirroring=self.tta,
            align_windows=self.align_windows,
            **more,
        )
        found.select(clean=self.clean)
        return found


@dataclass(frozen=True)
class ValidationCase:
    """A validation case.

    made_from: Digest of all that decides what is measured.
    output: The file of its record.
    """

    case: RawCase
    fold: int
    images: tuple[Path, ...]
    label: Path
    made_from: str
    output: Path


class _Records:
    """The record of the batch: the files of the cases, each of which says what it was made from."""

    def holds(self, name: str, job: ValidationCase) -> bool:
        found = read_sealed(job.output)
        return found is not None and found.get("made_from") == job.made_from

    def enter(self, name: str, job: ValidationCase, result: Facts) -> None:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(job.output, result)


def collect_fold(
    predictor: Predictor, fold: int, folder: Path, dataset: RawDataset, settings: PathSettings, progress: bool = True
) -> tuple[Outcome[Facts], list[Facts]]:
    """Measure the validation cases of one fold.

    Args:
        predictor: Of the fold alone, with these settings.
        folder: Of the model.
        dataset: The raw dataset that it was trained on.

    Returns:
        What came of the cases, and the records of those that are done.

    Raises:
        UserError: The fold has no validation cases, or none of them is in the dataset.
    """
    jobs = _jobs(predictor, fold, folder, dataset, settings)

    def measured(job: ValidationCase) -> Facts:
        return _measured(predictor, job)

    outcome = run(
        jobs, in_processes(measured, num_processes=1), title=f"quality, fold {fold}", record=_Records(), progress=progress
    )
    records = [read_sealed(job.output) for name, job in jobs.items() if name not in outcome.failed]
    return outcome, [its for its in records if its is not None]


def _jobs(
    predictor: Predictor, fold: int, folder: Path, dataset: RawDataset, settings: PathSettings
) -> dict[str, ValidationCase]:
    check_has_unseen_cases(folder)
    validation = folder / f"fold_{fold}" / "validation"
    if not validation.is_dir() or not (cases := identifiers(validation, predictor.file_ending)):
        raise UserError(f"{validation}: no predictions of validation cases; run `cdpd train ... {fold} --val` first")
    known = {case.identifier: case for case in dataset.cases}
    if missing := [case for case in cases if case not in known]:
        raise UserError(f"{validation / (missing[0] + predictor.file_ending)}: no case of {dataset.folder}; give its dataset")
    model = [VERSION, settings.as_json(), weights_digest(predictor.list_of_parameters), predictor.annotation.classes]
    if predictor.annotation.ignore_value is not None:  # which no record from before it was looked at tells
        model.append(predictor.annotation.ignore_value)
    jobs = {}
    for name in cases:
        case = known[name]
        images, label = tuple(map(dataset.path, case.images)), dataset.path(case.label)
        made_from = digest(*model, [file_state(file) for file in (*images, label)], list(DEGRADATIONS))
        output = folder / CASES_FOLDER / f"fold_{fold}" / f"{name}.json"
        jobs[name] = ValidationCase(case, fold, images, label, made_from, output)
    return jobs


def _measured(predictor: Predictor, job: ValidationCase) -> Facts:
    annotation = predictor.annotation
    source = annotation.source_index(job.case.identifier)
    case = predictor.preprocess_files(job.images)
    read, properties = predictor.writer.read_seg(job.label)
    reference = checked_label_map(read, annotation, str(job.label), strict=False)
    if reference.shape != tuple(case.properties["shape_before_cropping"][axis] for axis in _backward(predictor)):
        raise UserError(f"{job.label}: {reference.shape} voxels, and another number in the image {job.images[0]}")
    forward = predictor.plans_manager.transpose_forward
    on_grid = nearest_on_network_grid(reference, case.data.shape[1:], forward, case.properties)
    labelled, sums = watched(predictor, case, on_grid, source)
    spacing = network_spacing(case.data.shape[1:], case.properties, forward)
    degraded = {}
    for name, degrade in DEGRADATIONS.items():
        data, part = degrade(case.data, spacing, job.case.identifier)
        degraded[name] = _of_degraded(predictor, data, on_grid[part], source, spacing)
    annotated = {annotation.classes[k] for k in range(len(annotation.classes)) if annotation.scored[source, k]}
    return {
        "made_from": job.made_from,
        "case": job.case.identifier,
        "fold": str(job.fold),
        "intact": {
            "facts": facts_of(predictor, sums, spacing),
            "scores": _scores(predictor, predictor.export(labelled).label_map, reference, source, properties["spacing"]),
        },
        "degraded": degraded,
        "flat": is_flat(reference.shape, properties["spacing"]),
        "reference": reference_places(reference, annotation, source, properties["spacing"], on_grid, case.data[0].numpy()),
        "counts": {
            name: its.counts.tolist()
            for k, its in sums.of_classes().items()
            if its.counts is not None and (name := annotation.classes[k]) in annotated
        },
    }


def _backward(predictor: Predictor) -> Sequence[int]:
    return predictor.plans_manager.transpose_backward


def _of_degraded(
    predictor: Predictor, data: Tensor, on_grid: np.ndarray, source: int, spacing: Sequence[float]
) -> dict[str, Facts]:
    """Facts and scores of a degraded image, which is labelled on the network's grid only."""
    selection = predictor.selection
    sums = BlockSums(data, selection.needed, selection.tree)
    with hosts_threads():
        for block in predictor.logit_blocks(data):
            sums(block)
    labels = selection.tree.stored_values(selection.wanted)[sums.winners]
    return {
        "facts": facts_of(predictor, sums, spacing),
        "scores": _scores(predictor, labels, on_grid, source, spacing),
    }


def _scores(
    predictor: Predictor, label_map: np.ndarray, reference: np.ndarray, source: int, spacing: Sequence[float]
) -> dict[str, Facts]:
    """Annotated class -> Dice (None: nowhere in either) and voxels of a label map."""
    annotation = predictor.annotation
    found = case_metrics(
        reference,
        label_map,
        spacing,
        reference=annotation,
        source=source,
        prediction=annotation,
        tolerance_mm=None,
    )
    return {
        name: {
            "dice": None if math.isnan(its["Dice"]) else its["Dice"],
            "n_ref": int(its["n_ref"]),
            "n_pred": int(its["n_pred"]),
        }
        for name, its in found.items()
        if name in annotation.classes
    }
