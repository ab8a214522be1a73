"""Contradictions in an annotation, one line each; training refuses the first, `cdpd labels --check` lists them all."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnunetv2_cdpd.annotation.model import POSITIVE, Annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import DATASET_FILE


def check_annotation(annotation: Annotation, where: str | Path = DATASET_FILE) -> None:
    """Raise UserError on the first contradiction; `read_annotation` calls this."""
    for contradiction in contradictions(annotation):
        raise UserError(f"{where}: {contradiction}")


def contradictions(annotation: Annotation) -> Iterator[str]:
    """What an annotation says that cannot be, and what to do; nothing can be learned from it as it is."""
    known = set(annotation.classes)
    yield from _of_values(annotation)
    merged_by_name = {label.name: label for label in annotation.merged_labels}
    for label in annotation.merged_labels:
        if label.name in known:
            yield f"{label.name!r} is a class and a merged label; rename one of the two"
        yield from _unknown(f"merged label {label.name!r}", label.classes, known)
        if len(set(label.classes)) < 2:
            yield f"merged label {label.name!r} needs at least two classes, has {label.classes}"
    for name, parents in annotation.possible_parents.items():
        yield from _unknown("possible_parents", (name, *parents), known)
    yield from _unknown("class_prompts", annotation.class_prompts, known)
    yield from _unknown("compatible", (name for pair in annotation.compatible for name in pair), known)
    for source in annotation.sources:
        yield from _unknown(f"source {source.name!r}", source.annotated_classes, known)
        yield from _unknown(f"source {source.name!r}", source.merged_labels, set(merged_by_name))
        if not source.annotated_classes and not source.merged_labels:
            yield f"source {source.name!r} annotates no class; take it out or say what it annotates"
        for name in source.merged_labels:
            merged = merged_by_name[name].classes if name in merged_by_name else ()
            if both := sorted(set(merged) & set(source.annotated_classes)):
                yield f"source {source.name!r} annotates {', '.join(both)} and also merges it into {name!r}; keep one of the two"
    source_names = {source.name for source in annotation.sources}
    for case, source_name in (annotation.case_source or {}).items():
        if source_name not in source_names:
            known_sources = ", ".join(sorted(source_names))
            yield f"case {case!r} is of source {source_name!r}, which is not in `sources` ({known_sources})"
    for name in annotation.classes:
        if name in annotation.possible_ancestors(name):
            yield f"class {name!r} is nested in itself; mend `possible_parents`"


def cases_without_source(annotation: Annotation) -> Iterator[str]:
    """That nothing tells the source of a case; a dataset whose cases are needed by nobody, as a model's may be, goes without."""
    if annotation.case_source is None and len(annotation.sources) > 1:
        yield f"`cdpd: case_source` is missing, so that nothing tells which of {len(annotation.sources)} sources a case is of"


def never_learned(annotation: Annotation) -> Iterator[str]:
    """Classes of which no source could ever show an example; the annotation must hold no contradiction.

    Training goes on with them: such a head only learns where it is not.
    """
    taught: set[str] = set()
    for source, table in zip(annotation.sources, annotation.tables):
        shown = (table[annotation.stored_values(source)] == POSITIVE).any(0)
        taught.update(*(classes for classes, is_shown in zip(annotation.columns, shown) if is_shown))
    for name, region in zip(annotation.classes, annotation.regions):
        if name not in taught:
            yield (
                f"no source fills the region of {name!r}, {list(region)}, so nothing teaches it; "
                "name it among the annotated classes of a source or take it out of `labels`"
            )


def _of_values(annotation: Annotation) -> Iterator[str]:
    # Classes may share a value where regions overlap (nnU-Net paints `kidney` with the value of one of its sides).
    ignore = [] if annotation.ignore_value is None else [annotation.ignore_value]
    used = Counter([*set(annotation.values), *(label.value for label in annotation.merged_labels), *ignore, 0])
    if twice := sorted(value for value, count in used.items() if count > 1):
        yield f"stored values {twice} stand for two things; give each class its own"
    others = [value for region in annotation.regions for value in region] + [label.value for label in annotation.merged_labels]
    if annotation.ignore_value is not None and annotation.ignore_value <= max(others, default=0):
        yield f"the ignore label is {annotation.ignore_value}, and classes go up to {max(others)}; it has to be the highest value"
    named: dict[tuple[int, ...], str] = {}
    for name, value, region in zip(annotation.classes, annotation.values, annotation.regions):
        if 0 in region:
            yield f"the region of {name!r} holds 0, the background; take it out"
        if value not in region:
            yield (
                f"`regions_class_order` gives {name!r} the value {value}, which is not in its region {list(region)}; "
                "list the values in the order of `labels`"
            )
        if named.setdefault(region, name) != name:
            yield f"{named[region]!r} and {name!r} stand for the same values; take one out"


def _unknown(where: str, names: Iterable[str], known: set[str]) -> Iterator[str]:
    if unknown := sorted(set(names) - known):
        yield f"{where} names {', '.join(unknown)}, known are {', '.join(sorted(known)) or 'none'}"
