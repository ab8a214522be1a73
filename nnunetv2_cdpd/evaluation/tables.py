"""Tables: results as text for people and as CSV for programs."""

import csv
import io
import math
from typing import Sequence

from nnunetv2_cdpd.evaluation.metrics import METRICS
from nnunetv2_cdpd.evaluation.results import Results


def text_table(results: Results) -> str:
    """Class by class: cases, Dice, HD95, surface Dice, missed and spurious; over all cases, then for each source."""
    parts = [
        f"{len(results.cases)} cases; HD95 in mm, surface Dice at {results.tolerance_mm:g} mm",
        _block(results, None),
    ]
    if len(results.source_names) > 1:
        parts += [_block(results, source) for source in results.source_names]
    return "\n\n".join(parts) + "\n"


def csv_text(results: Results) -> str:
    """One row per case and class that it is scored on: case, source, class, every metric."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["case", "source", "class", *METRICS])
    for case in results.cases:
        for name, scores in case.metrics.items():
            writer.writerow([case.case, case.source, name, *(scores[metric] for metric in METRICS)])
    return file.getvalue()


def number(value: float, digits: int) -> str:
    """A rounded number; "-" where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _block(results: Results, source: str | None) -> str:
    """The table of one source, or of all."""
    head = ["class", "cases", "present", "Dice", "HD95", "surface Dice", "missed", "spurious"]
    rows, not_annotated = [], []
    for name in results.class_names:
        summary = results.summary(name, source)
        counts = [str(summary.present), *_scores(summary.means), str(summary.missed), str(summary.spurious)]
        if summary.cases:
            rows.append([name, str(summary.cases), *counts])
        elif name not in results.unknown_classes:
            not_annotated.append(name)
    means = {metric: results.foreground_mean(metric, source) for metric in METRICS}
    rows.append(["mean of classes", "", "", *_scores(means), "", ""])
    title = "All cases" if source is None else f"Source {source}, {len(results.cases_of(source))} cases"
    lines = [title, *_aligned([head, *rows])]
    if not_annotated:
        lines.append(f"not annotated: {', '.join(not_annotated)}")
    if results.unknown_classes:
        lines.append(f"not among the prediction's labels: {', '.join(results.unknown_classes)}")
    return "\n".join(lines)


def _scores(means: dict[str, float]) -> list[str]:
    return [number(means["Dice"], 3), number(means["HD95_mm"], 2), number(means["SurfaceDice"], 3)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, the first column to the left, the others to the right; a rule below the head and above the last."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]
