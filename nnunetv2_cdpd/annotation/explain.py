"""The annotation tables in words: what a stored value says about each class, per source, and why.

`cdpd labels` prints this. It reads the same tables as the loss, so what it shows is what is learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from nnunetv2_cdpd.annotation.model import NEGATIVE, POSITIVE, UNSUPERVISED, Annotation, Source
from nnunetv2_cdpd.errors import UserError, amount

STATES = {POSITIVE: "positive", NEGATIVE: "negative", UNSUPERVISED: "not supervised"}
SYMBOLS = {POSITIVE: "+", NEGATIVE: "-", UNSUPERVISED: "."}


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    value: Stored value.
    column: Class or union.
    state: NEGATIVE, POSITIVE or UNSUPERVISED.
    reason: Why, as a clause without a full stop.
    """

    value: int
    column: str
    state: int
    reason: str


def value_names(annotation: Annotation) -> dict[int, str]:
    """Stored value -> what it stands for, for every value that something declares."""
    names = {0: "background"}
    for name, value in zip(annotation.classes, annotation.values):
        names[value] = f"{names[value]} / {name}" if value in names else name
    for value in {value for region in annotation.regions for value in region} - set(names):
        inside = [name for name, region in zip(annotation.classes, annotation.regions) if value in region]
        names[value] = f"part of {' and '.join(inside)}"
    for label in annotation.merged_labels:
        names[label.value] = f"{label.name} ({' or '.join(label.classes)})"
    if annotation.ignore_value is not None:
        names[annotation.ignore_value] = "ignore"
    return dict(sorted(names.items()))


def explain(annotation: Annotation, source: Source) -> list[Entry]:
    """Every cell of a source's table, by stored value, then by class and union."""
    index = annotation.sources.index(source)
    return [
        Entry(value, name, int(state), _reason(annotation, source, value, column))
        for value in value_names(annotation)
        for column, (name, state) in enumerate(zip(annotation.column_names, annotation.tables[index, value]))
    ]


def choose_sources(annotation: Annotation, names: Sequence[str] | None) -> list[Source]:
    """The sources of these names, all for None.

    Raises:
        UserError: There is no source of a name.
    """
    by_name = {source.name: source for source in annotation.sources}
    if unknown := sorted(set(names or ()) - set(by_name)):
        raise UserError(f"argument source: no source {', '.join(unknown)}; known are {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]


def tables_as_json(annotation: Annotation, sources: Sequence[Source]) -> dict[str, Any]:
    """Tables for other programs: names of the values, and per source what each value says about each class, and why."""
    return {
        "values": {str(value): name for value, name in value_names(annotation).items()},
        "classes": list(annotation.classes),
        "unions": list(annotation.column_names[len(annotation.classes) :]),
        "sources": {
            source.name: {
                "annotated_classes": list(source.annotated_classes),
                "merged_labels": list(source.merged_labels),
                "cases": number_of_cases(annotation, source),
                "stored_values": annotation.stored_values(source),
                "table": {
                    str(value): {entry.column: {"state": STATES[entry.state], "why": entry.reason} for entry in entries}
                    for value, entries in groupby(explain(annotation, source), key=lambda entry: entry.value)
                },
            }
            for source in sources
        },
    }


def table_as_text(annotation: Annotation, source: Source, every_value: bool = False) -> str:
    """One source's table as lines of text, then the reasons, each with the cells that it stands for.

    Args:
        every_value: Also the rows of values that the source does not store.
    """
    names, entries = value_names(annotation), explain(annotation, source)
    shown = list(names) if every_value else annotation.stored_values(source)
    columns = annotation.column_names
    numbers = [str(number) for number in range(1, len(columns) + 1)]
    rows = [["", *numbers]]
    rows += [[f"{value} {names[value]}", *(SYMBOLS[entry.state] for entry in entries if entry.value == value)] for value in shown]
    width, cell = max(len(row[0]) for row in rows), len(numbers[-1]) + 1
    cases = number_of_cases(annotation, source)
    lines = [
        f"source {source.name}" + ("" if cases is None else f", {amount(cases, 'case')}"),
        f"  annotates {', '.join([*source.annotated_classes, *source.merged_labels])}",
        "  columns: " + ", ".join(f"{number} {name}" for number, name in zip(numbers, columns)),
    ]
    lines += ["  " + row[0].ljust(width) + "".join(symbol.rjust(cell) for symbol in row[1:]) for row in rows]
    lines.append("  + positive   - negative   . not supervised")
    by_reason: dict[tuple[int, str], dict[str, list[str]]] = {}
    for entry in entries:
        if entry.value in shown:
            cells = by_reason.setdefault((entry.state, entry.reason), {})
            cells.setdefault(names[entry.value], []).append(entry.column)
    for (state, reason), cells in sorted(by_reason.items(), key=lambda item: (item[0][0] != POSITIVE, item[0])):
        lines.append(f"  {STATES[state]}, because {reason}:")
        lines += [f"    {value}: {', '.join(of)}" for value, of in cells.items()]
    return "\n".join(lines)


def number_of_cases(annotation: Annotation, source: Source) -> int | None:
    """Cases of a source; None where the dataset has one source of every case."""
    if annotation.case_source is None:
        return None
    return sum(name == source.name for name in annotation.case_source.values())


def _reason(annotation: Annotation, source: Source, value: int, column: int) -> str:
    """Why a cell is what it is; follows the order in which Annotation builds its tables."""
    if value == annotation.ignore_value:
        return "the ignore label says nothing"
    state, classes = annotation.tables[annotation.sources.index(source), value, column], annotation.columns[column]
    annotated = classes <= annotation.annotated_with_merged(source)
    if column >= len(annotation.classes):
        return _reason_of_union(state, annotated)
    if state == POSITIVE:
        return "the value is the class or lies in it"
    if state == NEGATIVE:
        return "the source annotates the class" if annotated else "it is another structure, which excludes the class"
    if annotation.membership(value, classes) == UNSUPERVISED:
        return "the value is one of several classes, not known which"
    return (
        "the source does not annotate the class, and background may be it"
        if value == 0
        else "the source does not annotate the class, which may lie here or border differently"
    )


def _reason_of_union(state: int, annotated: bool) -> str:
    if state == POSITIVE:
        return "the value is one of the union's classes"
    if state == NEGATIVE:
        return "the source annotates all classes of the union"
    if not annotated:
        return "the source does not annotate every class of the union"
    return "its classes are supervised one by one, or it is not known whether it holds the value"
