"""The lines at the end of a completion: what became of each class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2_cdpd.completion.work import COMPLETED, DROPPED, REAL, UNKNOWN
from nnunetv2_cdpd.jobs.tables import aligned


def completion_summary(classes: Sequence[str], told: Mapping[str, Mapping[str, Any]]) -> str:
    """A table class x (cases that annotate it, that were completed, of these those that hold none of it, dropped, not known).

    Args:
        told: Case -> what `work` tells of it.
    """
    rows: list[tuple[str, ...]] = [
        ("class", "filters", "real", "completed", "nowhere", "dropped", "unknown", "voxels", "ignored")
    ]
    for name in classes:
        its = [facts["classes"][name] for facts in told.values()]
        outcomes = Counter(each["outcome"] for each in its)
        filters = Counter(each["filter"] for each in its if each.get("filter"))
        nowhere = sum(each["outcome"] == COMPLETED and not each["voxels"] for each in its)
        rows.append(
            (
                name,
                ", ".join(f"{which} {count}" for which, count in sorted(filters.items())) or "-",
                *(str(outcomes[outcome]) for outcome in (REAL, COMPLETED)),
                str(nowhere),
                *(str(outcomes[outcome]) for outcome in (DROPPED, UNKNOWN)),
                *(str(sum(each.get(key, 0) for each in its)) for key in ("voxels", "ignored")),
            )
        )
    return "\n".join(aligned(rows, left=2, last_is_total=False))
