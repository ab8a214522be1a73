"""The table at the end of a merge: what each source brings."""

import json
from collections import Counter
from pathlib import Path

from nnunetv2_cdpd.annotation import read_annotation


def summary(folder: Path) -> str:
    """A table source x (cases, annotated classes, merged labels) of a merged dataset."""
    annotation = read_annotation(json.loads((folder / "dataset.json").read_text(encoding="utf-8")))
    counts = Counter((annotation.case_source or {}).values())
    rows = [("source", "cases", "annotated classes", "merged labels")]
    for source in annotation.sources:
        names = (", ".join(source.annotated_classes) or "-", ", ".join(source.merged_labels) or "-")
        rows.append((source.name, str(counts[source.name]), *names))
    rows.append(("all", str(sum(counts.values())), f"{len(annotation.classes)} classes", f"{len(annotation.merged_labels)}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
