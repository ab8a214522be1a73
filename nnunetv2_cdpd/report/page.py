"""Page: results, pictures, volumes and curves as one HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.evaluation.tables import SIGNIFICANT
from nnunetv2_cdpd.jobs import in_processes, run
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.template import write_html
from nnunetv2_cdpd.report.cases import DrawJob, ReportCase, draw_case, legend
from nnunetv2_cdpd.report.charts import BoxPlot, LineChart, box_plot, distance_scale, line_chart, share_scale
from nnunetv2_cdpd.report.tables import case_rows, changed_counts, key_figures, worst_first
from nnunetv2_cdpd.report.training import TrainingCurves

CURVE_COLOURS = ("#2f6fb5", "#d1612a")
MOST_NAME = 30  # characters before ": " that are the name of a fact


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
    layers = Layers.of(results.reference, results.prediction, results.class_names)
    order = {case.case: index for index, case in enumerate(worst_first(results))}
    shown = sorted((ReportCase(*case) for case in cases), key=lambda case: order.get(case.case, len(order)))
    unknown = set(volumes) - {case.case for case in shown}
    if unknown:
        raise ValueError(f"volumes of cases that are not shown: {', '.join(sorted(unknown))}")
    jobs = {case.case: DrawJob(case, layers, window, case.case in volumes) for case in shown}
    drawn = run(jobs, in_processes(draw_case, num_processes), title="Pictures", progress=False)
    scored = {case.case: case for case in results.cases}
    path = Path(path)
    write_html(
        path,
        "report/page.html",
        title=title,
        palette=layers.palette,
        results=results,
        facts=[_fact(line) for line in intro_lines],
        figures=key_figures(results),
        box_plots=_box_plots(results),
        comparison=comparison,
        counts=changed_counts(comparison) if comparison else {},
        significant=SIGNIFICANT,
        source_columns=[(source, f"{len(results.cases_of(source))} cases") for source in results.source_names],
        cases=case_rows(results),
        anchors={case: f"case-{number}" for number, case in enumerate(jobs, start=1)},
        drawn=drawn,
        legends={case: legend(results, scored.get(case), its.seen, layers) for case, its in drawn.done.items()},
        case_sources={name: case.source for name, case in scored.items()} if len(results.reference.sources) > 1 else {},
        training={name: (curves, _line_charts(curves)) for name, curves in (training or {}).items()},
    )
    return path


def _fact(line: str) -> tuple[str, str]:
    """Name and value of a line; the name is empty where it has none."""
    name, colon, value = line.partition(": ")
    return (name, value) if colon and len(name) <= MOST_NAME else ("", line)


def _box_plots(results: Results) -> list[BoxPlot]:
    scored = [name for name in results.class_names if np.isfinite(results.summary(name).means["Dice"])]

    def values(metric: str) -> dict[str, list[tuple[str, float]]]:
        return {
            name: [
                (case.case, case.metrics[name][metric])
                for case in results.cases
                if name in case.metrics and np.isfinite(case.metrics[name][metric])
            ]
            for name in scored
        }

    distances = values(results.protocol.distance)
    largest = max((value for its in distances.values() for _, value in its), default=1.0)
    return [
        box_plot("Dice", values("Dice"), share_scale()),
        box_plot(f"HD95 in {results.protocol.unit}", distances, distance_scale(largest)),
    ]


def _line_charts(curves: TrainingCurves) -> list[LineChart]:
    charts = (
        ("Loss", [("training", curves.train_loss), ("validation", curves.val_loss)]),
        ("Pseudo Dice", [("each epoch", curves.pseudo_dice), ("moving average", curves.ema_pseudo_dice)]),
        ("Learning rate", [("", curves.learning_rate)]),
    )
    drawn = [
        line_chart(title, [(name, colour, values) for (name, values), colour in zip(series, CURVE_COLOURS)], curves.epochs)
        for title, series in charts
    ]
    return [chart for chart in drawn if chart is not None]
