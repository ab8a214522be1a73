"""Page: results, pictures, volumes and curves as one HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.jobs import in_processes, run, write_text
from nnunetv2_cdpd.pages.charts import BoxPlot, BoxRow, box_plot, distance_scale, line_chart, share_scale
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.template import render
from nnunetv2_cdpd.report.cases import DrawJob, ReportCase, case_article, draw_case
from nnunetv2_cdpd.report.layers import layers_of
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
    """Write the page.

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
    page = render(
        "report.html",
        title=title,
        colours=layers.numbered_colours,
        facts=[_fact(line) for line in intro_lines],
        key_figures=key_figures(results),
        class_table=class_table(results, layers),
        distributions=_distributions(results, layers),
        comparison=_comparison(comparison, layers) if comparison else None,
        source_table=source_table(results, layers) if len(results.source_names) > 1 else None,
        unit=results.protocol.unit,
        case_table=case_table(results, layers, anchors),
        trainings=[_training(name, curves) for name, curves in (training or {}).items()],
        articles=_articles(results, shown, frozenset(volumes), anchors, layers, window, num_processes),
        not_scored=list(results.problems),  # the reasons may hold paths, and the page is passed on
        protocol=results.protocol,
        tolerance_mm=results.tolerance_mm,
    )
    write_text(Path(path), page)
    return Path(path)


def _fact(line: str) -> tuple[str, str]:
    """Name and value of a line like "Machine: 2 cores"; no name otherwise."""
    name, colon, value = line.partition(": ")
    return (name, value) if colon and len(name) <= 30 else ("", line)


def _distributions(results: Results, layers: Layers) -> list[BoxPlot]:
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
    return [
        box_plot("Dice", rows("Dice"), share_scale()),
        box_plot(f"HD95 in {results.protocol.unit}", distances, distance_scale(largest)),
    ]


def _comparison(comparison: Mapping[str, Any], layers: Layers) -> dict[str, Any]:
    return {"num_cases": len(comparison["cases"]), "tables": comparison_tables(comparison, layers)}


def _training(name: str, curves: TrainingCurves) -> dict[str, Any]:
    charts = (
        ("Loss", [("training", curves.train_loss), ("validation", curves.val_loss)]),
        ("Pseudo Dice", [("each epoch", curves.pseudo_dice), ("moving average", curves.ema_pseudo_dice)]),
        ("Learning rate", [("", curves.learning_rate)]),
    )
    drawn = [
        line_chart(title, [(label, colour, values) for (label, values), colour in zip(series, CURVE_COLOURS)], curves.epochs)
        for title, series in charts
    ]
    return {
        "name": name,
        "num_epochs": len(curves.epochs),
        "hours": np.nansum(curves.seconds) / 3600,
        "charts": [chart for chart in drawn if chart is not None],
    }


def _articles(
    results: Results,
    cases: Sequence[ReportCase],
    volumes: frozenset[str],
    anchors: Mapping[str, str],
    layers: Layers,
    window: tuple[float, float] | None,
    num_processes: int,
) -> list[dict[str, Any]]:
    """The pictures of cases; a case whose pictures cannot be made is named with the reason."""
    jobs = {case.case: DrawJob(case, layers, window, case.case in volumes) for case in cases}
    outcome = run(jobs, in_processes(draw_case, num_processes), title="pictures", progress=False)
    scores = {case.case: case for case in results.cases}
    return [
        case_article(
            results,
            case,
            scores.get(case.case),
            outcome.done.get(case.case),
            outcome.failed.get(case.case),
            layers,
            anchors[case.case],
        )
        for case in cases
    ]
