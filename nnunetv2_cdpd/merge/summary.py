"""The table at the end of a merge: what each source brings."""

from collections import Counter

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.jobs.tables import aligned


def merge_summary(annotation: Annotation) -> str:
    """A table source x (cases, annotated classes, merged labels) of a merged dataset."""
    counts = Counter((annotation.case_source or {}).values())
    rows = [("source", "cases", "annotated classes", "merged labels")]
    for source in annotation.sources:
        names = (", ".join(source.annotated_classes) or "-", ", ".join(source.merged_labels) or "-")
        rows.append((source.name, str(counts[source.name]), *names))
    rows.append(("all", str(sum(counts.values())), f"{len(annotation.classes)} classes", f"{len(annotation.merged_labels)}"))
    return "\n".join(aligned(rows, left=4, last_is_total=False))
