"""Fitting: from the records of validation cases to a QualityModel; what is told of it is of cases that it had not seen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.quality.absent import EmptyRow, fit_absent
from nnunetv2_cdpd.quality.anatomy import anatomy_of
from nnunetv2_cdpd.quality.collect import PathSettings
from nnunetv2_cdpd.quality.features import expected_dice, features_of, logit
from nnunetv2_cdpd.quality.flags import FlagRow, fit_flags
from nnunetv2_cdpd.quality.intervals import VolumeRow, fit_intervals
from nnunetv2_cdpd.quality.model import QualityModel
from nnunetv2_cdpd.quality.probabilities import BINS, Platt, Reliability, fit_platt, reliability, sums_of
from nnunetv2_cdpd.quality.regression import Rows, fit

LEAST_CASES = 8  # below, an interval of 90 % cannot be had from them, and nothing that is told of the calibration means much
_Record = Mapping[str, Any]


@dataclass(frozen=True)
class _Present:
    """A prediction that is somewhere: case, class, features, scores, and whether the image was intact."""

    case: int
    name: str
    features: np.ndarray
    scores: Mapping[str, Any]
    intact: bool


def fit_quality(
    records: Sequence[_Record], classes: Sequence[str], folds: Mapping[str, str], settings: PathSettings
) -> QualityModel:
    """Fit a calibration.

    Args:
        records: Of all validation cases, as `collect` leaves them.
        classes: Of the model.
        folds: Name -> digest of its weights.

    Raises:
        UserError: There are too few cases, or no class is anywhere in them.
    """
    if len(records) < LEAST_CASES:
        raise UserError(
            f"{len(records)} validation cases: too few to learn from; {LEAST_CASES} or more are needed, train more folds"
        )
    usual = _usual(records)
    rows = [row for case, record in enumerate(records) for row in _present(case, record, _anatomy_without(records, case), usual)]
    if not any(row.intact for row in rows):
        raise UserError("no class is predicted anywhere in the validation cases; nothing can be learned of their quality")
    index = {name: number for number, name in enumerate(classes)}
    regression, beyond = fit(
        Rows(
            np.stack([row.features for row in rows]),
            np.array([row.scores["dice"] for row in rows], float),
            np.array([index[row.name] for row in rows]),
            np.array([row.case for row in rows]),
            np.array([row.intact for row in rows]),
        ),
        len(classes),
    )
    intact = [(row, float(dice)) for row, dice in zip(rows, beyond) if row.intact]
    empty = _empty(records)
    present = {name: sum(its["n_ref"] > 0 for its in _scores_of(records, name)) for name in classes}
    annotated = {name: count for name in classes if (count := len(_scores_of(records, name)))}
    absent = fit_absent([row for _, row in empty], present, annotated)
    flag_rows = [FlagRow(row.name, dice, row.scores["dice"], True) for row, dice in intact]
    missed = [absent.probability_missed(row.name, row.highest) for _, row in empty]
    flag_rows += [FlagRow(row.name, 1 - its, 1.0 - row.present, False) for (_, row), its in zip(empty, missed)]
    volume_rows = [VolumeRow(row.name, dice, _log_ratio(row.scores)) for row, dice in intact]
    flags, intervals = fit_flags(flag_rows), fit_intervals(volume_rows)
    platt, diagrams = _probabilities(records)
    return QualityModel(
        classes=tuple(classes),
        folds=dict(folds),
        settings=settings.as_json(),
        cases=len(records),
        class_cases={name: annotated.get(name, 0) for name in classes},
        usual=usual,
        anatomy=anatomy_of(record["reference"] for record in records),
        regression=regression,
        absent=absent,
        intervals=intervals,
        flags=flags,
        platt=platt,
        found=_found(flag_rows, [(row.case, volume) for (row, _), volume in zip(intact, volume_rows)]),
        reliability=diagrams,
        flat=any(record["flat"] for record in records),
    )


def _usual(records: Sequence[_Record]) -> dict[str, float]:
    """Class -> mean expected Dice of the validation cases, as a logit."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, facts in record["intact"]["facts"].items():
            if facts["shape"]:
                found.setdefault(name, []).append(logit(expected_dice(facts)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _anatomy_without(records: Sequence[_Record], case: int) -> Any:
    """Of all cases but one, to which it is to be compared as a new one will be."""
    return anatomy_of(record["reference"] for other, record in enumerate(records) if other != case)


def _present(case: int, record: _Record, anatomy: Any, usual: Mapping[str, float]) -> list[_Present]:
    images = [(record["intact"], True), *((image, False) for image in record["degraded"].values())]
    return [
        _Present(case, name, features, image["scores"][name], intact)
        for image, intact in images
        for name, features in features_of(image["facts"], anatomy, usual).items()
        # A few voxels of the network's grid may be nothing on the image's.
        if name in image["scores"] and image["scores"][name]["n_pred"]
    ]


def _empty(records: Sequence[_Record]) -> list[tuple[int, EmptyRow]]:
    """Annotated classes that the label map of a case has nothing of."""
    return [
        (case, EmptyRow(name, record["intact"]["facts"][name]["highest"], scores["n_ref"] > 0))
        for case, record in enumerate(records)
        for name, scores in record["intact"]["scores"].items()
        if not scores["n_pred"]
    ]


def _scores_of(records: Sequence[_Record], name: str) -> list[Mapping[str, Any]]:
    return [record["intact"]["scores"][name] for record in records if name in record["intact"]["scores"]]


def _log_ratio(scores: Mapping[str, Any]) -> float | None:
    """ln of the reference's volume to that of the prediction; None: the reference has nothing."""
    return math.log(scores["n_ref"] / scores["n_pred"]) if scores["n_ref"] and scores["n_pred"] else None


def _probabilities(records: Sequence[_Record]) -> tuple[dict[str, Platt], dict[str, tuple[Reliability, Reliability]]]:
    """Class -> scaling of its logits, and reliability before and after that of the other folds."""
    by_fold: dict[str, dict[str, np.ndarray]] = {
        fold: sums_of([record["counts"] for record in records if record["fold"] == fold])
        for fold in dict.fromkeys(record["fold"] for record in records)
    }
    total = sums_of([{name: its.tolist() for name, its in counts.items()} for counts in by_fold.values()])
    platt = {name: fit_platt(counts) for name, counts in total.items()}
    diagrams = {}
    for name, counts in total.items():
        parts = [its[name] for its in by_fold.values() if name in its]
        after = [reliability(its, fit_platt(counts - its) if len(parts) > 1 else Platt()) for its in parts]
        diagrams[name] = (reliability(counts), _joined(after))
    return platt, diagrams


def _joined(parts: Sequence[Reliability]) -> Reliability:
    """One diagram of those of several folds."""
    rows = [(p, share, n) for part in parts for p, share, n in zip(part.probability, part.share, part.voxels)]
    found = []
    for number in range(BINS):
        its = [(p, share, n) for p, share, n in rows if min(int(p * BINS), BINS - 1) == number]
        if total := sum(n for *_, n in its):
            found.append((sum(p * n for p, _, n in its) / total, sum(share * n for _, share, n in its) / total, total))
    return Reliability(*(list(column) for column in zip(*found))) if found else Reliability([], [], [])


def _found(flag_rows: Sequence[FlagRow], volumes: Sequence[tuple[int, VolumeRow]]) -> dict[str, float | None]:
    """What the cross-validation showed."""
    from scipy.stats import spearmanr

    predicted, score = (np.array([getattr(row, key) for row in flag_rows]) for key in ("predicted", "score"))
    correlation = float(spearmanr(predicted, score)[0]) if len(set(score)) > 1 and len(set(predicted)) > 1 else math.nan
    return {
        "spearman": None if math.isnan(correlation) else correlation,
        "mean_absolute_error": float(np.abs(predicted - score).mean()),
        "mean_dice": float(score.mean()),
        "coverage": _coverage(volumes),
    }


def _coverage(volumes: Sequence[tuple[int, VolumeRow]]) -> float | None:
    """Share of volumes that lie in the interval which the other cases give; None: no reference has any."""
    inside = []
    for case in dict.fromkeys(case for case, _ in volumes):
        intervals = fit_intervals([row for other, row in volumes if other != case])
        for row in (row for other, row in volumes if other == case):
            low, high = intervals.of(row.name, row.predicted, 1.0)
            inside.append(low <= (0.0 if row.log_ratio is None else math.exp(row.log_ratio)) <= high)
    return float(np.mean(inside)) if inside else None
