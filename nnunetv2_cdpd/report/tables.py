"""Tables of the page: scores per class, per source and per case, and the comparison with another model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_cdpd.evaluation.results import CaseScores, ClassSummary, Results, counted_in_mean, mean_of_finite
from nnunetv2_cdpd.evaluation.tables import SIGNIFICANT
from nnunetv2_cdpd.jobs.tables import interval, number, p_value
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.tables import Cell, Table, bar, columns, count, row_head, sort_key, value, words


def worst_first(results: Results) -> list[CaseScores]:
    """Cases by their mean Dice over the classes that count, the lowest first; last those without any."""
    return sorted(results.cases, key=lambda case: (math.isnan(dice := mean_score(results, case, "Dice")), dice, case.case))


def mean_score(results: Results, case: CaseScores, metric: str) -> float:
    """Mean of a metric over the classes of a case."""
    return mean_of_finite(case.metrics[name][metric] for name in counted_in_mean(results.reference, case.metrics))


def key_figures(results: Results) -> list[tuple[str, str]]:
    """Numbers with what they are."""
    distance = results.protocol.distance
    scored = sum(results.summary(name).cases > 0 for name in results.reference.classes)
    return [
        (str(len(results.cases)), "cases"),
        (f"{scored} of {len(results.reference.classes)}", "classes scored"),
        (number(results.foreground_mean("Dice"), 3), f"mean Dice, 95 % CI {interval(results.foreground_dice_interval())}"),
        (number(results.foreground_mean(distance), 2), f"mean HD95 in {results.protocol.unit}"),
        (number(results.foreground_mean("SurfaceDice"), 3), f"mean surface Dice at {results.tolerance_mm:g} mm"),
    ]


def class_table(results: Results, layers: Layers) -> Table:
    """Scores per class over all cases."""
    head = columns(
        "class", "cases", "present", ("Dice", "95 % CI"), ("HD95", results.protocol.unit),
        ("surface Dice", f"{results.tolerance_mm:g} mm"), "missed", "spurious",
    )  # fmt: skip
    rows = [_class_row(results, name, results.summary(name), layers) for name in results.class_names]
    means = {metric: results.foreground_mean(metric) for metric in results.protocol.metrics}
    scores = _scores(results, means, results.foreground_dice_interval())
    return Table(head, rows, [row_head("mean of classes"), Cell(""), Cell(""), *scores, Cell(""), Cell("")])


def _class_row(results: Results, name: str, summary: ClassSummary, layers: Layers) -> list[Cell]:
    head = row_head(name, layers.colour(name))
    if not summary.cases:
        return [head, Cell("0", "0"), Cell(_why_not_scored(results, name), css="none", columns=6)]
    counts = count(summary.cases), count(summary.present)
    errors = count(summary.missed, "bad"), count(summary.spurious, "bad")
    return [head, *counts, *_scores(results, summary.means, summary.dice_interval), *errors]


def _scores(results: Results, means: Mapping[str, float], dice_interval: tuple[float, float]) -> list[Cell]:
    return [
        bar(means["Dice"], remark=interval(dice_interval)),
        value(means[results.protocol.distance], 2),
        bar(means["SurfaceDice"]),
    ]


def source_table(results: Results, layers: Layers) -> Table:
    """Scores per class and source."""
    head = columns("class", *((source, f"{len(results.cases_of(source))} cases") for source in results.source_names))
    rows = [
        [row_head(name, layers.colour(name)), *(_source_cell(results, name, source) for source in results.source_names)]
        for name in results.class_names
    ]
    metrics = "Dice", results.protocol.distance, "SurfaceDice"
    means = [{metric: results.foreground_mean(metric, source) for metric in metrics} for source in results.source_names]
    foot = [Cell(number(mean["Dice"], 3), remark=_surface_scores(results, mean)) for mean in means]
    return Table(head, rows, [row_head("mean of classes"), *foot])


def _source_cell(results: Results, name: str, source: str) -> Cell:
    summary = results.summary(name, source)
    if not summary.cases:
        return Cell(_why_not_scored(results, name), "", "none")
    return bar(summary.means["Dice"], remark=f"{_surface_scores(results, summary.means)} · {summary.cases}")


def _surface_scores(results: Results, means: Mapping[str, float]) -> str:
    return f"{number(means[results.protocol.distance], 2)} · {number(means['SurfaceDice'], 3)}"


def case_table(results: Results, layers: Layers, anchors: Mapping[str, str]) -> Table:
    """One row per case, the worst first.

    Args:
        anchors: Case -> id of its pictures on the page.
    """
    head = columns(
        "case", "source", "classes", ("Dice", "mean of classes"), ("worst class", "its Dice"),
        ("HD95", f"mean, {results.protocol.unit}"), ("surface Dice", "mean"), "missed", "spurious",
    )  # fmt: skip
    return Table(head, [_case_row(results, case, layers, anchors) for case in worst_first(results)], css="cases")


def _case_row(results: Results, case: CaseScores, layers: Layers, anchors: Mapping[str, str]) -> list[Cell]:
    dice = {class_name: scores["Dice"] for class_name, scores in case.metrics.items() if np.isfinite(scores["Dice"])}
    worst = min(dice, key=dice.__getitem__) if dice else ""
    named = words("", sort="")
    if worst:
        named = words(f"{worst} {number(dice[worst], 3)}", layers.colour(worst), sort=sort_key(dice[worst]))
    missed = sum(scores["n_ref"] > 0 and not scores["n_pred"] for scores in case.metrics.values())
    spurious = sum(not scores["n_ref"] and scores["n_pred"] > 0 for scores in case.metrics.values())
    return [
        row_head(case.case, link=anchors.get(case.case, "")),
        words(case.source),
        count(len(dice)),
        bar(mean_score(results, case, "Dice")),
        named,
        value(mean_score(results, case, results.protocol.distance), 2),
        bar(mean_score(results, case, "SurfaceDice")),
        count(missed, "bad"),
        count(spurious, "bad"),
    ]


def comparison_tables(comparison: Mapping[str, Any], layers: Layers) -> list[tuple[str, Table]]:
    """Tables of a comparison.json: for each metric the difference in every class, then missed and spurious structures."""
    head = columns(
        "class", "cases", ("A", "mean"), ("B", "mean"), ("A - B", "95 % CI"), ("A better", "cases"), ("A worse", "cases"),
        ("equal", "cases"), "p", ("p", "Holm"),
    )  # fmt: skip
    tables = [
        (metric, Table(head, [_compared_row(name, row, layers) for name, row in classes.items()]))
        for metric, classes in comparison["metrics"].items()
    ]
    counts = comparison["counts"]
    changed = {name: row for name, row in counts.items() if any((*row["missed"], *row["spurious"]))}
    if changed:
        head = columns("class", ("missed", "by A"), ("missed", "by B"), ("spurious", "in A"), ("spurious", "in B"))
        rows = [
            [row_head(name, layers.colour(name)), *map(count, (*row["missed"], *row["spurious"]))]
            for name, row in changed.items()
        ]
        tables.append(("Structures missed and spurious", Table(head, rows)))
    return tables


def _compared_row(name: str, row: Mapping[str, float], layers: Layers) -> list[Cell]:
    css = "bad" if row["p_holm"] < SIGNIFICANT and row["A_worse"] > row["A_better"] else ""
    css = css or ("good" if row["p_holm"] < SIGNIFICANT else "")
    limits = interval((row["low"], row["high"]))
    return [
        row_head(name, layers.colour(name)),
        value(row["cases"], 0),
        value(row["A"], 3),
        value(row["B"], 3),
        Cell(f"{row['difference']:+.3f}", f"{row['difference']:.6g}", css, limits),
        *(value(row[key], 0) for key in ("A_better", "A_worse", "equal")),
        *(Cell(p_value(row[key]), f"{row[key]:.6g}") for key in ("p", "p_holm")),
    ]


def legend(names: Sequence[tuple[str, str]], layers: Layers) -> list[tuple[str, str, str]]:
    """Classes with their colours and a remark each."""
    return [(name, layers.colour(name), remark) for name, remark in names]


def _why_not_scored(results: Results, name: str) -> str:
    if name in results.unknown_classes:
        return "not predicted"
    return "not annotated, or in no reference" if results.protocol.needs_reference else "not annotated"
