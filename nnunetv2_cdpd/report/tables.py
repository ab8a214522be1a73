"""Tables: what the page's tables show and does not stand in the results or in comparison.json as it is."""

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean
from nnunetv2_cdpd.evaluation.compare import smallest_p
from nnunetv2_cdpd.evaluation.results import CaseScores, Results, counted_in_mean, mean_of_finite, missed_and_spurious
from nnunetv2_cdpd.evaluation.tables import SIGNIFICANT
from nnunetv2_cdpd.jobs.tables import interval, number
from nnunetv2_cdpd.report.charts import ClassScores

# With fewer cases no difference between two models is significant by Wilcoxon's test, and an interval says little.
FEWEST_CASES = next(cases for cases in itertools.count(1) if smallest_p(cases, cases) < SIGNIFICANT)


@dataclass(frozen=True)
class CaseRow:
    """A case.

    classes: How many have a Dice.
    means: Metric -> mean over the classes that count.
    worst: The class with the lowest Dice, "" where there is none.
    left_out: Classes of these without an HD95.
    """

    case: str
    source: str
    classes: int
    means: Mapping[str, float]
    worst: str
    worst_dice: float
    missed: int
    spurious: int
    left_out: int


def metric_titles(results: Results) -> dict[str, str]:
    """Metric -> what the page calls it."""
    return {"Dice": "Dice", results.protocol.distance: f"HD95 ({results.protocol.unit})", "SurfaceDice": "Surface Dice"}


def class_scores(results: Results, metric: str) -> dict[str, ClassScores]:
    """One metric of each class that is scored."""
    missing = without_distance(results) if metric == results.protocol.distance else {}
    found = {}
    for name in results.class_names:
        summary = results.summary(name)
        if not math.isfinite(summary.means["Dice"]):
            continue
        values = [(case.case, case.metrics[name][metric]) for case in results.cases if name in case.metrics]
        values = [(case, value) for case, value in values if math.isfinite(value)]
        column = np.array([value for _, value in values], float)[:, None]
        interval = summary.dice_interval if metric == "Dice" else interval_of_mean(column)
        found[name] = ClassScores(values, interval, missing.get(name, 0))
    return found


def without_distance(results: Results, source: str | None = None) -> dict[str, int]:
    """Class -> in how many cases it has a Dice and no HD95, because it is missed or spurious."""
    return {
        name: sum(_has_no_distance(results, case.metrics[name]) for case in results.cases_of(source) if name in case.metrics)
        for name in results.class_names
    }


def worst_first(results: Results) -> list[CaseScores]:
    """Cases by their mean Dice over the classes that count, the lowest first; last those without any."""
    return sorted(results.cases, key=lambda case: (math.isnan(dice := _case_mean(results, case, "Dice")), dice, case.case))


def worst_and_typical(results: Results, count: int) -> list[str]:
    """Cases that are worth a look: the worst ones, two of three, and of the others those nearest to the median Dice."""
    ranked = worst_first(results)
    worst, others = ranked[: math.ceil(count * 2 / 3)], ranked[math.ceil(count * 2 / 3) :]
    dice = {case.case: _case_mean(results, case, "Dice") for case in ranked}
    scored = [its for its in dice.values() if math.isfinite(its)]
    middle = statistics.median(scored) if scored else 0.0
    typical = sorted((case for case in others if math.isfinite(dice[case.case])), key=lambda case: abs(dice[case.case] - middle))
    return [case.case for case in [*worst, *typical][:count]]


def key_figures(results: Results) -> list[tuple[str, str]]:
    """Numbers, each with what it is."""
    scored = sum(results.summary(name).cases > 0 for name in results.reference.classes)
    means = results.foreground_means()
    missing = sum(without_distance(results).values())
    told = f", {missing} structures left out ‡" if missing else ""
    return [
        (str(len(results.cases)), "cases"),
        (f"{scored} of {len(results.reference.classes)}", "classes scored"),
        (number(means["Dice"], 3), f"mean Dice, 95 % CI {interval(results.foreground_dice_interval())}"),
        (number(means[results.protocol.distance], 2), f"mean {metric_titles(results)[results.protocol.distance]}{told}"),
        (number(means["SurfaceDice"], 3), f"mean Surface Dice, tolerance {results.tolerance_mm:g} mm"),
    ]


def case_rows(results: Results) -> list[CaseRow]:
    """Every case, the worst first."""
    return [_case_row(results, case) for case in worst_first(results)]


def _has_no_distance(results: Results, scores: Mapping[str, float]) -> bool:
    return math.isfinite(scores["Dice"]) and not math.isfinite(scores[results.protocol.distance])


def _case_mean(results: Results, case: CaseScores, metric: str) -> float:
    """Mean of a metric over the classes of a case."""
    return mean_of_finite(case.metrics[name][metric] for name in counted_in_mean(results.reference, case.metrics))


def _case_row(results: Results, case: CaseScores) -> CaseRow:
    dice = {name: scores["Dice"] for name, scores in case.metrics.items() if math.isfinite(scores["Dice"])}
    worst = min(dice, key=dice.__getitem__) if dice else ""
    means = {metric: _case_mean(results, case, metric) for metric in results.protocol.metrics}
    missed, spurious = missed_and_spurious(case.metrics.values())
    without = sum(_has_no_distance(results, scores) for scores in case.metrics.values())
    return CaseRow(case.case, case.source, len(dice), means, worst, dice.get(worst, math.nan), missed, spurious, without)
