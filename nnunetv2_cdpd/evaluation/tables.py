"""Tables: results and comparisons as text for people and as CSV for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2_cdpd.errors import amount, listed
from nnunetv2_cdpd.evaluation.compare import ClassComparison, Comparison, smallest_p
from nnunetv2_cdpd.evaluation.nesting import told_nesting
from nnunetv2_cdpd.evaluation.results import CLASS_COUNTS, Results, counted_in_mean, mean_of_finite
from nnunetv2_cdpd.jobs.tables import aligned, csv_of, interval, number, p_value

SIGNIFICANT = 0.05
COMPARED = ("cases", "A", "B", "difference", "low", "high", "A_better", "A_worse", "equal", "p", "p_holm")  # of a class


def text_table(results: Results) -> str:
    """Class by class: cases, Dice, HD95, surface Dice, missed and spurious; over all cases, then for each source."""
    protocol = results.protocol
    head = (
        f"{amount(len(results.cases), 'case')}, protocol {protocol.name}; HD95 in {protocol.unit}, surface Dice at "
        f"{results.tolerance_mm:g} mm, 95 % CI of the mean Dice by bootstrap"
    )
    if results.problems:
        left = amount(len(results.problems), "case")
        head = f"{head}\nNo number here knows of {left} that could not be scored: {listed(list(results.problems))}"
    if results.nested:
        head = f"{head}\n{told_nesting(results.nested)}"
    parts = [head, _block(results, None)]
    if len(results.source_names) > 1:
        parts += [_block(results, source) for source in results.source_names]
    return "\n\n".join(parts) + "\n"


def csv_text(results: Results) -> str:
    """One row per case and class that it is scored on: case, source, class, every metric."""
    metrics = results.protocol.metrics
    rows = [
        [case.case, case.source, name, *(scores[metric] for metric in metrics)]
        for case in results.cases
        for name, scores in case.metrics.items()
    ]
    return csv_of([["case", "source", "class", *metrics], *rows])


def comparison_table(comparison: Comparison, name: str, other_name: str) -> str:
    """A block per metric: means, difference, cases better and worse, p; then missed and spurious structures of both."""
    cases = len(comparison.results.cases)
    test = "p by Wilcoxon's signed rank test, Holm-corrected over the classes"
    parts = [f"A: {name}\nB: {other_name}\n{amount(cases, 'case')} in both; {test}, * below {SIGNIFICANT}"]
    if comparison.left_out:
        parts.append(f"not compared, because only one of them has it: {', '.join(comparison.left_out)}")
    for metric, entries in comparison.classes.items():
        if not entries:
            parts.append(f"{metric}: in no case do both have a value")
            continue
        head = ["class", "cases", "A", "B", "A - B", "95 % CI", "A better", "worse", "equal", "p", "p Holm"]
        counted = counted_in_mean(comparison.results.reference, [entry.name for entry in entries])
        counted_entries = [entry for entry in entries if entry.name in counted]
        means = [mean_of_finite(getattr(entry, of) for entry in counted_entries) for of in ("mean", "other_mean", "difference")]
        rows = [_compared_row(entry) for entry in entries]
        rows.append(["mean of classes", "", *(number(mean, 3) for mean in means[:2]), f"{means[2]:+.3f}", *[""] * 6])
        parts.append(
            "\n".join([f"{metric}, mean of the cases in which both have a value", *aligned([head, *rows]), *_few(entries)])
        )
    counts = []
    for class_name in comparison.results.class_names:
        own, its = comparison.summaries(class_name)
        if any((own.missed, its.missed, own.spurious, its.spurious)):
            counts.append([class_name, *map(str, (own.missed, its.missed, own.spurious, its.spurious))])
    if counts:
        head = ["class", "missed by A", "by B", "spurious in A", "in B"]
        parts.append("\n".join(["Structures missed and spurious, in cases", *aligned([head, *counts], last_is_total=False)]))
    return "\n\n".join(parts) + "\n"


def comparison_csv(comparison: Comparison) -> str:
    """One row per metric and class."""
    rows = [
        [metric, entry.name, *_numbers(entry).values()] for metric, entries in comparison.classes.items() for entry in entries
    ]
    return csv_of([["metric", "class", *COMPARED], *rows])


def comparison_json(comparison: Comparison, name: str, other_name: str) -> dict[str, Any]:
    """The comparison for programs: metric -> class -> numbers, and the missed and spurious counts of both."""
    results = comparison.results
    return {
        "version": 1,
        "A": name,
        "B": other_name,
        "cases": [case.case for case in results.cases],
        "left_out": list(comparison.left_out),
        "protocol": results.protocol.name,
        "tolerance_mm": results.tolerance_mm,
        "test": "Wilcoxon signed rank, two-sided; p_holm is corrected over the classes of a metric",
        "metrics": {
            metric: {entry.name: _numbers(entry) for entry in entries}
            for metric, entries in comparison.classes.items()
            if entries
        },
        "counts": {
            class_name: {what: [getattr(summary, what) for summary in comparison.summaries(class_name)] for what in CLASS_COUNTS}
            for class_name in results.class_names
        },
    }


def _block(results: Results, source: str | None) -> str:
    """The table of one source, or of all."""
    head = ["class", "cases", "present", "Dice", "95 % CI", "HD95", "surface Dice", "missed", "spurious"]
    rows, not_annotated = [], []
    for name in results.class_names:
        summary = results.summary(name, source)
        counts = [str(summary.missed), str(summary.spurious)]
        if summary.cases:
            scores = _scores(results, summary.means, summary.dice_interval)
            rows.append([name, str(summary.cases), str(summary.present), *scores, *counts])
        elif name not in results.unknown_classes:
            not_annotated.append(name)
    means = results.foreground_means(source)
    rows.append(["mean of classes", "", "", *_scores(results, means, results.foreground_dice_interval(source)), "", ""])
    title = "All cases" if source is None else f"Source {source}, {amount(len(results.cases_of(source)), 'case')}"
    lines = [title, *aligned([head, *rows]), *results.unions_told(source)]
    if not_annotated:
        reason = "not annotated" + (", or in no reference" if results.protocol.needs_reference else "")
        lines.append(f"{reason}: {', '.join(not_annotated)}")
    if results.unknown_classes:
        lines.append(f"not among the prediction's labels: {', '.join(results.unknown_classes)}")
    return "\n".join(lines)


def _scores(results: Results, means: Mapping[str, float], dice_interval: tuple[float, float]) -> list[str]:
    distance = number(means[results.protocol.distance], 2)
    return [number(means["Dice"], 3), interval(dice_interval), distance, number(means["SurfaceDice"], 3)]


def _compared_row(entry: ClassComparison) -> list[str]:
    return [
        entry.name,
        str(entry.cases),
        *(number(value, 3) for value in (entry.mean, entry.other_mean)),
        f"{entry.difference:+.3f}",
        interval(entry.interval),
        *(str(count) for count in (entry.better, entry.worse, entry.equal)),
        p_value(entry.p),
        p_value(entry.p_holm) + ("*" if entry.p_holm < SIGNIFICANT else " "),
    ]


def _few(entries: Sequence[ClassComparison]) -> list[str]:
    """A line on the classes in which no difference could be significant."""
    floors = {entry.name: smallest_p(entry.better + entry.worse, entry.cases) for entry in entries}
    told = [f"{name} {floor:g}" for name, floor in floors.items() if floor >= SIGNIFICANT]
    return [f"too few cases that differ, p cannot fall below: {', '.join(told)}"] if told else []


def _numbers(entry: ClassComparison) -> dict[str, float]:
    """The numbers of COMPARED."""
    means = (entry.mean, entry.other_mean, entry.difference, *entry.interval)
    return dict(zip(COMPARED, (entry.cases, *means, entry.better, entry.worse, entry.equal, entry.p, entry.p_holm)))
