"""Tables of the page: scores per class, per source and per case, and the comparison with another model."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from nnunetv2_cdpd.evaluation.results import CaseScores, ClassSummary, Results, counted_in_mean, mean_of_finite
from nnunetv2_cdpd.evaluation.tables import SIGNIFICANT, interval, number, p_value
from nnunetv2_cdpd.pages.html import bar_cell, cell, head_row, swatch, table
from nnunetv2_cdpd.pages.layers import Layers


def worst_first(results: Results) -> list[CaseScores]:
    """Cases by their mean Dice over the classes that count, the lowest first; last those without any."""
    return sorted(results.cases, key=lambda case: (math.isnan(dice := mean_score(results, case, "Dice")), dice, case.case))


def mean_score(results: Results, case: CaseScores, metric: str) -> float:
    """Mean of a metric over the classes of a case."""
    return mean_of_finite(case.metrics[name][metric] for name in counted_in_mean(results.reference, case.metrics))


def key_figures(results: Results) -> str:
    distance = results.protocol.distance
    scored = sum(results.summary(name).cases > 0 for name in results.reference.classes)
    figures = [
        (str(len(results.cases)), "cases"),
        (f"{scored} of {len(results.reference.classes)}", "classes scored"),
        (number(results.foreground_mean("Dice"), 3), f"mean Dice, 95 % CI {interval(results.foreground_dice_interval())}"),
        (number(results.foreground_mean(distance), 2), f"mean HD95 in {results.protocol.unit}"),
        (number(results.foreground_mean("SurfaceDice"), 3), f"mean surface Dice at {results.tolerance_mm:g} mm"),
    ]
    tiles = "".join(f"<li><b>{value}</b><span>{escape(label)}</span></li>" for value, label in figures)
    return f'<ul class="key-figures">{tiles}</ul>'


def class_table(results: Results, layers: Layers) -> str:
    """Scores per class over all cases."""
    head = head_row(
        [("class", ""), ("cases", ""), ("present", ""), ("Dice", "95 % CI"), ("HD95", results.protocol.unit),
         ("surface Dice", f"{results.tolerance_mm:g} mm"), ("missed", ""), ("spurious", "")]
    )  # fmt: skip
    rows = [_class_row(results, name, results.summary(name), layers) for name in results.class_names]
    means = {metric: results.foreground_mean(metric) for metric in results.protocol.metrics}
    foot = (
        f'<th scope="row">mean of classes</th><td></td><td></td>{_scores(results, means, results.foreground_dice_interval())}'
        "<td></td><td></td>"
    )
    return table(head, rows, foot)


def _class_row(results: Results, name: str, summary: ClassSummary, layers: Layers) -> str:
    head = _class_head(name, layers)
    if not summary.cases:
        return f'<tr>{head}<td data-value="0">0</td><td class="none" colspan="6">{_why_not_scored(results, name)}</td></tr>'
    counts = cell(summary.cases, 0) + cell(summary.present, 0)
    errors = "".join(cell(count, 0, css="bad" if count else "") for count in (summary.missed, summary.spurious))
    return f"<tr>{head}{counts}{_scores(results, summary.means, summary.dice_interval)}{errors}</tr>"


def _scores(results: Results, means: Mapping[str, float], dice_interval: tuple[float, float]) -> str:
    return (
        bar_cell(means["Dice"], remark=f"<small>{interval(dice_interval)}</small>")
        + cell(means[results.protocol.distance], 2)
        + bar_cell(means["SurfaceDice"])
    )


def source_table(results: Results, layers: Layers) -> str:
    """Scores per class and source."""
    head = head_row([("class", ""), *((source, f"{len(results.cases_of(source))} cases") for source in results.source_names)])
    rows = [
        f"<tr>{_class_head(name, layers)}{''.join(_source_cell(results, name, source) for source in results.source_names)}</tr>"
        for name in results.class_names
    ]
    metrics = "Dice", results.protocol.distance, "SurfaceDice"
    means = [{metric: results.foreground_mean(metric, source) for metric in metrics} for source in results.source_names]
    foot = "".join(f"<td>{number(mean['Dice'], 3)}<small>{_surface_scores(results, mean)}</small></td>" for mean in means)
    return table(head, rows, f'<th scope="row">mean of classes</th>{foot}')


def _source_cell(results: Results, name: str, source: str) -> str:
    summary = results.summary(name, source)
    if not summary.cases:
        return f'<td class="none" data-value="">{_why_not_scored(results, name)}</td>'
    remark = f"<small>{_surface_scores(results, summary.means)} &middot; {summary.cases}</small>"
    return bar_cell(summary.means["Dice"], remark=remark)


def _surface_scores(results: Results, means: Mapping[str, float]) -> str:
    return f"{number(means[results.protocol.distance], 2)} &middot; {number(means['SurfaceDice'], 3)}"


def case_table(results: Results, layers: Layers, anchors: Mapping[str, str]) -> str:
    """One row per case, the worst first.

    Args:
        anchors: Case -> id of its pictures on the page.
    """
    head = head_row(
        [("case", ""), ("source", ""), ("classes", ""), ("Dice", "mean of classes"), ("worst class", "its Dice"),
         ("HD95", f"mean, {results.protocol.unit}"), ("surface Dice", "mean"), ("missed", ""), ("spurious", "")]
    )  # fmt: skip
    return table(head, [_case_row(results, case, layers, anchors) for case in worst_first(results)], css="cases")


def _case_row(results: Results, case: CaseScores, layers: Layers, anchors: Mapping[str, str]) -> str:
    name = escape(case.case)
    if case.case in anchors:
        name = f'<a href="#{anchors[case.case]}">{name}</a>'
    dice = {class_name: scores["Dice"] for class_name, scores in case.metrics.items() if np.isfinite(scores["Dice"])}
    worst = min(dice, key=dice.__getitem__) if dice else ""
    worst_cell = '<td class="words" data-value=""></td>'
    if worst:
        named = f"{swatch(layers.colour(worst))}{escape(worst)} {number(dice[worst], 3)}"
        worst_cell = f'<td class="words" data-value="{dice[worst]:.6g}">{named}</td>'
    missed = sum(scores["n_ref"] > 0 and not scores["n_pred"] for scores in case.metrics.values())
    spurious = sum(not scores["n_ref"] and scores["n_pred"] > 0 for scores in case.metrics.values())
    return (
        f'<tr><th scope="row">{name}</th><td class="words">{escape(case.source)}</td>{cell(len(dice), 0)}'
        f"{bar_cell(mean_score(results, case, 'Dice'))}{worst_cell}"
        f"{cell(mean_score(results, case, results.protocol.distance), 2)}{bar_cell(mean_score(results, case, 'SurfaceDice'))}"
        f"{''.join(cell(count, 0, css='bad' if count else '') for count in (missed, spurious))}</tr>"
    )


def comparison_tables(comparison: Mapping[str, Any], layers: Layers) -> str:
    """Tables of a comparison.json: for each metric the difference in every class, then missed and spurious structures."""
    parts = []
    for metric, classes in comparison["metrics"].items():
        head = head_row(
            [("class", ""), ("cases", ""), ("A", "mean"), ("B", "mean"), ("A - B", "95 % CI"), ("A better", "cases"),
             ("A worse", "cases"), ("equal", "cases"), ("p", ""), ("p", "Holm")]
        )  # fmt: skip
        parts += [f"<h3>{escape(metric)}</h3>", table(head, [_compared_row(name, row, layers) for name, row in classes.items()])]
    counts = comparison["counts"]
    changed = {name: row for name, row in counts.items() if any((*row["missed"], *row["spurious"]))}
    if changed:
        head = head_row([("class", ""), ("missed", "by A"), ("missed", "by B"), ("spurious", "in A"), ("spurious", "in B")])
        rows = [
            f"<tr>{_class_head(name, layers)}{''.join(cell(count, 0) for count in (*row['missed'], *row['spurious']))}</tr>"
            for name, row in changed.items()
        ]
        parts += ["<h3>Structures missed and spurious</h3>", table(head, rows)]
    return "\n".join(parts)


def _compared_row(name: str, row: Mapping[str, float], layers: Layers) -> str:
    css = "bad" if row["p_holm"] < SIGNIFICANT and row["A_worse"] > row["A_better"] else ""
    css = css or ("good" if row["p_holm"] < SIGNIFICANT else "")
    limits = f"<small>{interval((row['low'], row['high']))}</small>"
    difference = f'<td data-value="{row["difference"]:.6g}" class="{css}">{row["difference"]:+.3f}{limits}</td>'
    counts = "".join(cell(row[count], 0) for count in ("A_better", "A_worse", "equal"))
    p_values = "".join(f'<td data-value="{row[key]:.6g}">{escape(p_value(row[key]))}</td>' for key in ("p", "p_holm"))
    means = cell(row["A"], 3) + cell(row["B"], 3)
    return f"<tr>{_class_head(name, layers)}{cell(row['cases'], 0)}{means}{difference}{counts}{p_values}</tr>"


def legend(names: Sequence[tuple[str, str]], layers: Layers) -> str:
    """Classes with a remark each."""
    entries = [
        f'<li>{swatch(layers.colour(name))}{escape(name)}<span class="value">{escape(remark)}</span></li>'
        for name, remark in names
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _class_head(name: str, layers: Layers) -> str:
    return f'<th scope="row">{swatch(layers.colour(name))}{escape(name)}</th>'


def _why_not_scored(results: Results, name: str) -> str:
    if name in results.unknown_classes:
        return "not predicted"
    return "not annotated, or in no reference" if results.protocol.needs_reference else "not annotated"
