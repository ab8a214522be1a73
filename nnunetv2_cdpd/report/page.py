"""Page: results, pictures, volumes and curves as one HTML file."""

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.jobs import in_processes, write_text
from nnunetv2_cdpd.pages.layers import Layers, layers_of
from nnunetv2_cdpd.report.cases import DrawJob, ReportCase, case_article, draw_case
from nnunetv2_cdpd.report.charts import BoxRow, box_plot, distance_scale, line_chart, share_scale
from nnunetv2_cdpd.report.tables import case_table, class_table, comparison_tables, key_figures, source_table, worst_first
from nnunetv2_cdpd.report.training import TrainingCurves

CURVE_COLOURS = ("#2f6fb5", "#d1612a")


def write_report(
    path: str | Path,
    *,
    title: str,
    intro_lines: Sequence[str] = (),
    results: Results,
    cases: Sequence[ReportCase | tuple] = (),
    volumes: Sequence[str] = (),
    training: Mapping[str, TrainingCurves] | None = None,
    comparison: Mapping[str, Any] | None = None,
    window: tuple[float, float] | None = None,
    num_processes: int = 1,
) -> Path:
    """Write the page, beside and renamed.

    Args:
        intro_lines: What the reader has to know, as plain text; one like "Machine: 2 cores" is shown as name and value.
        cases: To show with pictures, the worst first. A case whose pictures cannot be made is named with the reason.
        volumes: Those of these cases whose volume can be scrolled through, about 1 MB each.
        training: Name -> curves, as `read_training` returns them.
        comparison: Content of a comparison.json of these results.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.
        num_processes: That draw cases; each needs memory for three volumes.

    Raises:
        ValueError: A volume of a case that is not among the cases.
    """
    layers = layers_of(results)
    order = {case.case: index for index, case in enumerate(worst_first(results))}
    shown = sorted((ReportCase(*case) for case in cases), key=lambda case: order.get(case.case, len(order)))
    unknown = set(volumes) - {case.case for case in shown}
    if unknown:
        raise ValueError(f"volumes of cases that are not shown: {', '.join(sorted(unknown))}")
    anchors = {case.case: f"case-{index}" for index, case in enumerate(shown, start=1)}
    sections = [
        _header(title, intro_lines),
        f"<h2>Scores per class</h2>\n{key_figures(results)}\n{class_table(results, layers)}",
        _distributions(results, layers),
        _comparison(comparison, layers) if comparison else "",
        _sources(results, layers) if len(results.source_names) > 1 else "",
        f"<h2>Cases, the worst first</h2>\n{case_table(results, layers, anchors)}",
        _training(training) if training else "",
        _pictures(results, shown, frozenset(volumes), anchors, layers, window, num_processes) if shown else "",
        _problems(results) if results.problems else "",
        _how_to_read(results),
    ]
    write_text(Path(path), html_page(title, "\n".join(filter(None, sections)), layers))
    return Path(path)


def html_page(title: str, body: str, layers: Layers) -> str:
    """The whole file around a body of HTML: style, script and the colours of classes."""
    style, script = ((files(__package__) / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    colours = "\n".join(f".c{layers.indices[key]} {{ --colour: {colour}; }}" for key, colour in layers.colours.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}
{colours}
</style>
</head>
<body>
<main>
{body}
</main>
<footer>Made by nnunetv2-cdpd {escape(__version__)}</footer>
<script>
{script}
</script>
</body>
</html>
"""


def _header(title: str, intro_lines: Sequence[str]) -> str:
    facts = []
    for line in intro_lines:
        name, colon, value = line.partition(": ")
        if colon and len(name) <= 30:
            facts.append(f'<div class="name">{escape(name)}</div><div>{escape(value)}</div>')
        else:
            facts.append(f'<div class="line">{escape(line)}</div>')
    listed = "\n".join(['<div class="facts">', *facts, "</div>"]) if facts else ""
    return f"<h1>{escape(title)}</h1>\n{listed}"


def _distributions(results: Results, layers: Layers) -> str:
    distance = results.protocol.distance

    def rows(metric: str) -> list[BoxRow]:
        return [
            BoxRow(
                name,
                layers.colour(name),
                [
                    (case.case, case.metrics[name][metric])
                    for case in results.cases
                    if name in case.metrics and np.isfinite(case.metrics[name][metric])
                ],
            )
            for name in results.class_names
            if np.isfinite(results.summary(name).means["Dice"])
        ]

    distances = rows(distance)
    largest = max((value for row in distances for _, value in row.values), default=1.0)
    return f"""<h2>Scores of all cases</h2>
<p class="quiet">Box: quartiles and median. Whiskers: the last case within 1.5 times the box. Every dot is a case; point at it
for its identifier.</p>
<div class="charts wide">{box_plot("Dice", rows("Dice"), share_scale())}
{box_plot(f"HD95 in {results.protocol.unit}", distances, distance_scale(largest))}</div>"""


def _comparison(comparison: Mapping[str, Any], layers: Layers) -> str:
    return f"""<h2>Comparison with other predictions</h2>
<p class="quiet">A: these predictions, B: the others, in {len(comparison["cases"])} cases that both were scored on. Means are
over the cases in which both have a value. p: Wilcoxon's signed rank test of the paired differences, also corrected by Holm
for the number of classes. Red and green: below 0.05 after the correction.</p>
{comparison_tables(comparison, layers)}"""


def _sources(results: Results, layers: Layers) -> str:
    return f"""<h2>Scores per source</h2>
<p class="quiet">In each cell the Dice, below it HD95 in {results.protocol.unit}, surface Dice and the number of cases scored.</p>
{source_table(results, layers)}"""


def _training(training: Mapping[str, TrainingCurves]) -> str:
    parts = ["<h2>Training</h2>"]
    for name, curves in training.items():
        charts = (
            ("Loss", [("training", curves.train_loss), ("validation", curves.val_loss)]),
            ("Pseudo Dice", [("each epoch", curves.pseudo_dice), ("moving average", curves.ema_pseudo_dice)]),
            ("Learning rate", [("", curves.learning_rate)]),
        )
        drawn = [
            line_chart(title, [(label, colour, values) for (label, values), colour in zip(series, CURVE_COLOURS)], curves.epochs)
            for title, series in charts
        ]
        hours = np.nansum(curves.seconds) / 3600
        parts.append(f"<h3>{escape(name)} <span>{len(curves.epochs)} epochs, {hours:.1f} h</span></h3>")
        parts.append(f'<div class="charts">{"".join(drawn)}</div>')
    return "\n".join(parts)


def _pictures(
    results: Results,
    cases: Sequence[ReportCase],
    volumes: frozenset[str],
    anchors: Mapping[str, str],
    layers: Layers,
    window: tuple[float, float] | None,
    num_processes: int,
) -> str:
    jobs = [DrawJob(case, layers, window, case.case in volumes) for case in cases]
    outcomes = {job.case.case: outcome for job, outcome in in_processes(draw_case, num_processes)(jobs)}
    scores = {case.case: case for case in results.cases}
    article = partial(case_article, results)
    articles = [article(case, scores.get(case.case), outcomes[case.case], layers, anchors[case.case]) for case in cases]
    return f"""<h2>Pictures, worst cases first</h2>
<p class="quiet">In each plane the slice that shows most classes. The patient's right is on the left of axial and coronal
slices. White dashes on a prediction are the contours of the reference. The numbers are the Dice of the class in this case.</p>
{chr(10).join(articles)}"""


def _problems(results: Results) -> str:
    # the reasons may hold paths, and the page is passed on
    named = escape(", ".join(results.problems))
    return f'<h2>Not scored</h2>\n<p class="warning">{named}: <code>cdpd evaluate</code> tells why.</p>'


def _how_to_read(results: Results) -> str:
    tolerance, protocol = f"{results.tolerance_mm:g} mm", results.protocol
    if protocol.needs_reference:
        rules = f"""Scores follow the protocol of the released CDPDNet code: label maps on a grid of {protocol.grid_mm:g} mm,
only cases whose reference holds the class, <b>Dice</b> with 1 added to its denominator, <b>HD95</b> as the 95th percentile of
the distances of both surfaces together in voxels, {protocol.distance_if_empty:g} where nothing is predicted."""
    else:
        rules = """<b>Dice</b> leaves out cases in which reference and prediction are both empty; it is 0 where one of them is.
<b>HD95</b> is the larger of the two directed 95th percentiles of the surface distances, over cases with both."""
    return f"""<h2>How to read the scores</h2>
<p>A case is scored on the classes that its source annotates; <b>cases</b> counts them, <b>present</b> those with the class in
the reference. {rules} <b>Surface Dice</b> is the share of both surfaces within {tolerance} of each other. <b>missed</b>: in the
reference but not predicted at all; <b>spurious</b>: predicted but not in the reference at all. <b>CI</b>: 95 % confidence
interval of the mean, by bootstrap over the cases. A merged label is scored as the union of its classes, a class includes the
classes nested in it, and a voxel that may or may not be of a class is not held against either side. A union counts in the
mean only where none of its classes is scored alone.</p>"""
