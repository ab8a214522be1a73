"""Tables of the page as data: scores per class, per source and per case, and the comparison with another model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_cdpd.evaluation.results import CaseScores, ClassSummary, Results, counted_in_mean, mean_of_finite
from nnunetv2_cdpd.evaluation.tables import SIGNIFICANT
from nnunetv2_cdpd.jobs.tables import interval, number, p_value


@dataclass(frozen=True)
class Scores:
    """Means that a row shows, nan where there is none; distance: HD95 in the protocol's unit; interval: Of the Dice."""

    dice: float
    distance: float
    surface_dice: float
    interval: str = ""


@dataclass(frozen=True)
class ClassRow:
    """A class over some cases; why_not: Why it is not scored where it is not."""

    name: str
    summary: ClassSummary
    scores: Scores
    why_not: str


@dataclass(frozen=True)
class CaseRow:
    """A case; classes: How many have a Dice; worst: The class with the lowest, "" where there is none."""

    case: str
    source: str
    classes: int
    scores: Scores
    worst: str
    worst_dice: float
    missed: int
    spurious: int


@dataclass(frozen=True)
class ComparedRow:
    """A class in a comparison.json; numbers: As they stand there; verdict: "good" or "bad" where the difference counts."""

    name: str
    numbers: Mapping[str, float]
    interval: str
    p_values: Mapping[str, str]
    verdict: str


def worst_first(results: Results) -> list[CaseScores]:
    """Cases by their mean Dice over the classes that count, the lowest first; last those without any."""
    return sorted(results.cases, key=lambda case: (math.isnan(dice := _case_mean(results, case, "Dice")), dice, case.case))


def key_figures(results: Results) -> list[tuple[str, str]]:
    """Numbers, each with what it is."""
    scored = sum(results.summary(name).cases > 0 for name in results.reference.classes)
    means = mean_scores(results)
    return [
        (str(len(results.cases)), "cases"),
        (f"{scored} of {len(results.reference.classes)}", "classes scored"),
        (number(means.dice, 3), f"mean Dice, 95 % CI {means.interval}"),
        (number(means.distance, 2), f"mean HD95 in {results.protocol.unit}"),
        (number(means.surface_dice, 3), f"mean surface Dice at {results.tolerance_mm:g} mm"),
    ]


def mean_scores(results: Results, source: str | None = None) -> Scores:
    """Means over the classes, in the cases of a source or in all."""
    means = {metric: results.foreground_mean(metric, source) for metric in results.protocol.metrics}
    return _scores(results, means, results.foreground_dice_interval(source))


def class_rows(results: Results, source: str | None = None) -> list[ClassRow]:
    """Every class over the cases of a source, or over all."""
    rows = []
    for name in results.class_names:
        summary = results.summary(name, source)
        scores = _scores(results, summary.means, summary.dice_interval)
        rows.append(ClassRow(name, summary, scores, "" if summary.cases else _why_not_scored(results, name)))
    return rows


def case_rows(results: Results) -> list[CaseRow]:
    """Every case, the worst first."""
    return [_case_row(results, case) for case in worst_first(results)]


def comparison_rows(comparison: Mapping[str, Any]) -> dict[str, list[ComparedRow]]:
    """Metric -> every class of a comparison.json."""
    return {
        metric: [_compared_row(name, row) for name, row in classes.items()] for metric, classes in comparison["metrics"].items()
    }


def changed_counts(comparison: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Class -> missed by A, by B, spurious in A, in B; those where any is."""
    counts = {name: (*row["missed"], *row["spurious"]) for name, row in comparison["counts"].items()}
    return {name: its for name, its in counts.items() if any(its)}


def _scores(results: Results, means: Mapping[str, float], dice_interval: tuple[float, float]) -> Scores:
    return Scores(means["Dice"], means[results.protocol.distance], means["SurfaceDice"], interval(dice_interval))


def _case_mean(results: Results, case: CaseScores, metric: str) -> float:
    """Mean of a metric over the classes of a case."""
    return mean_of_finite(case.metrics[name][metric] for name in counted_in_mean(results.reference, case.metrics))


def _case_row(results: Results, case: CaseScores) -> CaseRow:
    dice = {name: scores["Dice"] for name, scores in case.metrics.items() if math.isfinite(scores["Dice"])}
    worst = min(dice, key=dice.__getitem__) if dice else ""
    dice_mean, distance, surface = (
        _case_mean(results, case, metric) for metric in ("Dice", results.protocol.distance, "SurfaceDice")
    )
    return CaseRow(
        case.case,
        case.source,
        len(dice),
        Scores(dice_mean, distance, surface),
        worst,
        dice.get(worst, math.nan),
        missed=sum(scores["n_ref"] > 0 and not scores["n_pred"] for scores in case.metrics.values()),
        spurious=sum(not scores["n_ref"] and scores["n_pred"] > 0 for scores in case.metrics.values()),
    )


def _compared_row(name: str, row: Mapping[str, float]) -> ComparedRow:
    verdict = ""
    if row["p_holm"] < SIGNIFICANT:
        verdict = "bad" if row["A_worse"] > row["A_better"] else "good"
    p_values = {key: p_value(row[key]) for key in ("p", "p_holm")}
    return ComparedRow(name, row, interval((row["low"], row["high"])), p_values, verdict)


def _why_not_scored(results: Results, name: str) -> str:
    if name in results.unknown_classes:
        return "not predicted"
    return "not annotated, or in no reference" if results.protocol.needs_reference else "not annotated"
