"""Page: results, pictures, volumes and curves as one HTML file."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

from nnunetv2_cdpd.errors import amount, listed
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PAPER
from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.evaluation.tables import SIGNIFICANT
from nnunetv2_cdpd.jobs import Outcome, in_processes, run
from nnunetv2_cdpd.pages.layers import Layers
from nnunetv2_cdpd.pages.mistakes import MISTAKE_KINDS
from nnunetv2_cdpd.pages.template import write_html
from nnunetv2_cdpd.pages.viewer import MOST_VOLUMES, bytes_of_each
from nnunetv2_cdpd.report.cases import DrawJob, DrawnCase, ReportCase, draw_case, legend, viewer_classes
from nnunetv2_cdpd.report.charts import BoxPlot, LineChart, box_plot, distance_axis, line_chart, share_axis
from nnunetv2_cdpd.report.comparison import ComparisonTables
from nnunetv2_cdpd.report.mistakes import mistakes_of
from nnunetv2_cdpd.report.tables import (
    FEWEST_CASES,
    case_rows,
    class_scores,
    key_figures,
    metric_titles,
    without_distance,
    worst_first,
)
from nnunetv2_cdpd.report.training import TrainingCurves

PICTURES_BYTES = 32_000_000  # of all pictures together; with the viewer and its volumes about 60 MB, which browsers open well
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
    comparison: ComparisonTables | None = None,
    window: tuple[float, float] | None = None,
    num_processes: int = 1,
    tell: Callable[[str], None] = print,
) -> Path:
    """Write the page.

    Args:
        intro_lines: What the reader has to know, as plain text; one like "Machine: 2 cores" is shown as name and value.
        cases: To show with pictures, the worst first. A case whose pictures cannot be made is named with the reason.
        volumes: Those of these cases whose volume is shown by a viewer, about 1 MB each, together 24 MB at most.
        training: Name -> curves, as `read_training` returns them.
        comparison: Of these results with others, as `comparison_tables` makes it of a comparison.json.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.
        num_processes: That draw cases; each needs memory for three volumes.
        tell: Called with notes on cases whose pictures cannot be made, or for which the page has no room.

    Raises:
        ValueError: A volume of a case that is not among the cases, or more of them than a page has room for.
    """
    layers = Layers.of(results.reference, results.prediction, results.class_names)
    order = {case.case: index for index, case in enumerate(worst_first(results))}
    shown = sorted((ReportCase(*case) for case in cases), key=lambda case: order.get(case.case, len(order)))
    unknown = set(volumes) - {case.case for case in shown}
    if unknown:
        raise ValueError(f"volumes of cases that are not shown: {', '.join(sorted(unknown))}")
    if len(set(volumes)) > MOST_VOLUMES:
        raise ValueError(f"{len(set(volumes))} volumes; a page has room for {MOST_VOLUMES}")
    scored = {case.case: case for case in results.cases}
    each = bytes_of_each(len(set(volumes)))
    jobs = {
        case.case: DrawJob(case, layers, window, mistakes_of(results, scored.get(case.case)), each if case.case in volumes else 0)
        for case in shown
    }
    drawn = run(jobs, in_processes(draw_case, num_processes), title="Pictures", progress=False)
    _leave_out_what_is_too_much(drawn)
    for reason in dict.fromkeys(drawn.failed.values()):
        affected = [case for case, its in drawn.failed.items() if its == reason]
        tell(f"note: no pictures of {listed(affected)}: {reason}")
    path = Path(path)
    write_html(
        path,
        "report/page.html",
        title=title,
        palette=layers.palette,
        results=results,
        facts=[*map(_fact, intro_lines), *_facts_of(results, comparison)],
        figures=key_figures(results),
        box_plots=_box_plots(results),
        comparison=comparison,
        titles=metric_titles(results),
        left_out={source: without_distance(results, source) for source in (None, *results.source_names)},
        fewest=FEWEST_CASES,
        significant=SIGNIFICANT,
        source_columns=[(source, amount(len(results.cases_of(source)), "case")) for source in results.source_names],
        cases=case_rows(results),
        anchors={case: f"case-{number}" for number, case in enumerate(jobs, start=1)},
        worst={case: job.mistakes.worst for case, job in jobs.items() if job.mistakes is not None},
        volumes={case: its.volume for case, its in drawn.done.items() if its.volume is not None},
        viewer_classes=viewer_classes(layers),
        viewer_mistakes=[{"index": kind.code, "name": kind.name, "colour": kind.colour} for kind in MISTAKE_KINDS],
        drawn=drawn,
        legends={case: legend(results, scored.get(case), its.seen, layers) for case, its in drawn.done.items()},
        case_sources={name: case.source for name, case in scored.items()} if len(results.reference.sources) > 1 else {},
        training={name: (curves, _line_charts(curves)) for name, curves in (training or {}).items()},
    )
    return path


def _leave_out_what_is_too_much(drawn: Outcome[DrawnCase]) -> None:
    """Of cases, the worst first, those without a volume for which the page has no room."""
    used = 0
    for case, its in list(drawn.done.items()):
        used += its.picture_bytes
        if used > PICTURES_BYTES and its.volume is None:
            del drawn.done[case]
            drawn.failed[case] = f"all pictures together would be larger than {PICTURES_BYTES / 1e6:.0f} MB; show fewer cases"


def _fact(line: str) -> tuple[str, str]:
    """Name and value of a line; the name is empty where it has none."""
    name, colon, value = line.partition(": ")
    return (name, value) if colon and len(name) <= MOST_NAME else ("", line)


def _facts_of(results: Results, comparison: ComparisonTables | None) -> list[tuple[str, str]]:
    """What the head of the page says of every page."""
    rules = {NNUNET.name: "nnU-Net's", PAPER.name: "of the released CDPDNet code"}[results.protocol.name]
    facts = [
        ("Protocol", f"{rules}; HD95 in {results.protocol.unit}, Surface Dice at a tolerance of {results.tolerance_mm:g} mm"),
        ("Page made", date.today().isoformat()),
    ]
    if comparison:
        facts += [("A", f"{comparison.names[0]}: these predictions"), ("B", f"{comparison.names[1]}: compared with them")]
    return facts


def _box_plots(results: Results) -> list[BoxPlot]:
    titles, distance = metric_titles(results), results.protocol.distance
    dice, distances = class_scores(results, "Dice"), class_scores(results, distance)
    return [
        box_plot(dice, share_axis(titles["Dice"], dice)),
        box_plot(distances, distance_axis(titles[distance], distances)),
    ]


def _line_charts(curves: TrainingCurves) -> list[LineChart]:
    charts = (
        ("Loss", [("training", curves.train_loss), ("validation", curves.val_loss)]),
        ("Pseudo Dice", [("each epoch", curves.pseudo_dice), ("moving average", curves.ema_pseudo_dice)]),
        ("Learning rate", [("", curves.learning_rate)]),
    )
    drawn = [line_chart(title, series, curves.epochs) for title, series in charts]
    return [chart for chart in drawn if chart is not None]
