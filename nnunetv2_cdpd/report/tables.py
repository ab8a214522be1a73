"""Tables: what the page's tables show and does not stand in the results or in comparison.json as it is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_cdpd.evaluation.results import CaseScores, Results, counted_in_mean, mean_of_finite, missed_and_spurious
from nnunetv2_cdpd.jobs.tables import interval, number


@dataclass(frozen=True)
class CaseRow:
    """A case.

    classes: How many have a Dice.
    means: Metric -> mean over the classes that count.
    worst: The class with the lowest Dice, "" where there is none.
    """

    case: str
    source: str
    classes: int
    means: Mapping[str, float]
    worst: str
    worst_dice: float
    missed: int
    spurious: int


def worst_first(results: Results) -> list[CaseScores]:
    """Cases by their mean Dice over the classes that count, the lowest first; last those without any."""
    return sorted(results.cases, key=lambda case: (math.isnan(dice := _case_mean(results, case, "Dice")), dice, case.case))


def key_figures(results: Results) -> list[tuple[str, str]]:
    """Numbers, each with what it is."""
    scored = sum(results.summary(name).cases > 0 for name in results.reference.classes)
    means = results.foreground_means()
    return [
        (str(len(results.cases)), "cases"),
        (f"{scored} of {len(results.reference.classes)}", "classes scored"),
        (number(means["Dice"], 3), f"mean Dice, 95 % CI {interval(results.foreground_dice_interval())}"),
        (number(means[results.protocol.distance], 2), f"mean HD95 in {results.protocol.unit}"),
        (number(means["SurfaceDice"], 3), f"mean surface Dice at {results.tolerance_mm:g} mm"),
    ]


def case_rows(results: Results) -> list[CaseRow]:
    """Every case, the worst first."""
    return [_case_row(results, case) for case in worst_first(results)]


def changed_counts(comparison: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Class of a comparison.json -> missed by A, by B, spurious in A, in B; those where any is."""
    counts = {name: (*row["missed"], *row["spurious"]) for name, row in comparison["counts"].items()}
    return {name: its for name, its in counts.items() if any(its)}


def _case_mean(results: Results, case: CaseScores, metric: str) -> float:
    """Mean of a metric over the classes of a case."""
    return mean_of_finite(case.metrics[name][metric] for name in counted_in_mean(results.reference, case.metrics))


def _case_row(results: Results, case: CaseScores) -> CaseRow:
    dice = {name: scores["Dice"] for name, scores in case.metrics.items() if math.isfinite(scores["Dice"])}
    worst = min(dice, key=dice.__getitem__) if dice else ""
    means = {metric: _case_mean(results, case, metric) for metric in results.protocol.metrics}
    missed, spurious = missed_and_spurious(case.metrics.values())
    return CaseRow(case.case, case.source, len(dice), means, worst, dice.get(worst, math.nan), missed, spurious)
