"""The table at the end of a merge: what each source brings."""

from collections import Counter
from collections.abc import Mapping
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.jobs.tables import aligned
from nnunetv2_cdpd.merge.licensing import left_out_lines

_CLASSES_WIDTH = 70  # of the column of classes; a source may annotate more than a hundred


def merge_summary(annotation: Annotation, block: Mapping[str, Any] | None = None) -> str:
    """A table source x (cases, annotated classes, merged labels) of a merged dataset; long lists go on in further lines.

    Below it the sources that were left out.

    Args:
        block: The `cdpd` block of its dataset.json; None: nothing was left out.
    """
    counts = Counter((annotation.case_source or {}).values())
    rows = [("source", "cases", "annotated classes", "merged labels")]
    for source in annotation.sources:
        lists = (_lines(source.annotated_classes, _CLASSES_WIDTH), _lines(source.merged_labels, _CLASSES_WIDTH // 2))
        rows += zip_longest([source.name], [str(counts[source.name])], *lists, fillvalue="")
    rows.append(("all", str(sum(counts.values())), f"{len(annotation.classes)} classes", f"{len(annotation.merged_labels)}"))
    return "\n".join([*aligned(rows, left=4, last_is_total=False), *left_out_lines(block or {})])


def _lines(names: tuple[str, ...], width: int) -> list[str]:
    text = ", ".join(name.replace(" ", "\0") for name in names) or "-"  # names are not broken
    return [line.replace("\0", " ") for line in wrap(text, width, break_long_words=False, break_on_hyphens=False)]
