"""Comparison: a comparison.json as the page shows it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from nnunetv2_cdpd.evaluation.compare import smallest_p
from nnunetv2_cdpd.evaluation.nnunet import PROTOCOL_NAME
from nnunetv2_cdpd.evaluation.protocols import PROTOCOLS
from nnunetv2_cdpd.evaluation.tables import COMPARED, SIGNIFICANT
from nnunetv2_cdpd.jobs.shapes import SCORE, TEXT, list_of, map_of, record, whole_number

_CLASS = record({**dict.fromkeys(COMPARED, SCORE), "cases": whole_number()})
COMPARISON = record(  # what the page shows of a comparison.json
    {
        **dict.fromkeys(("A", "B"), TEXT),
        "protocol": PROTOCOL_NAME,
        "cases": list_of(TEXT),
        "metrics": map_of(map_of(_CLASS, "an object of classes"), "an object of metrics"),
        "counts": map_of(record(dict.fromkeys(("missed", "spurious"), list_of(whole_number(), 2, 2))), "an object of classes"),
    }
)


class ComparedClass(NamedTuple):
    """One metric of a class.

    numbers: What COMPARED of `evaluation.tables` names.
    left_out: Cases with a Dice of both that have no value of both.
    smaller_is_better: Of the metric.
    """

    name: str
    numbers: Mapping[str, float]
    left_out: int
    smaller_is_better: bool

    @property
    def smallest_p(self) -> float:
        """What p cannot fall below with so few cases that differ."""
        changed, cases = self.numbers["A_better"] + self.numbers["A_worse"], self.numbers["cases"]
        return smallest_p(int(changed), int(cases))

    @property
    def is_few(self) -> bool:
        """Whether no difference could be significant."""
        return self.smallest_p >= SIGNIFICANT

    @property
    def verdict(self) -> str:
        """How the page shows the mean difference: "good" or "bad" for A, "" where it may be chance."""
        gain = -self.numbers["difference"] if self.smaller_is_better else self.numbers["difference"]
        if not self.numbers["p_holm"] < SIGNIFICANT or gain == 0:
            return ""
        return "good" if gain > 0 else "bad"


class ComparisonTables(NamedTuple):
    """names: Of A and B. cases: That both were scored on. metrics: Metric -> classes. counts: As in `changed_counts`."""

    names: tuple[str, str]
    cases: int
    metrics: Mapping[str, Sequence[ComparedClass]]
    counts: Mapping[str, Sequence[int]]


def comparison_tables(comparison: Mapping[str, Any], name: str = "", other_name: str = "") -> ComparisonTables:
    """What the page shows of the content of a comparison.json.

    Args:
        comparison: Of the shape `COMPARISON`.
        name, other_name: Of A and B; empty: the ends of the folders' paths that differ.
    """
    metrics, distance = comparison["metrics"], PROTOCOLS[comparison["protocol"]].distance
    dice_cases = {name: int(row["cases"]) for name, row in metrics.get("Dice", {}).items()}
    tables = {
        metric: [
            ComparedClass(
                name,
                {key: float(row[key]) for key in COMPARED},
                dice_cases.get(name, int(row["cases"])) - row["cases"],
                metric == distance,
            )
            for name, row in rows.items()
        ]
        for metric, rows in metrics.items()
    }
    a, b = short_names(comparison["A"], comparison["B"])
    return ComparisonTables((name or a, other_name or b), len(comparison["cases"]), tables, changed_counts(comparison))


def changed_counts(comparison: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Class of a comparison.json -> missed by A, by B, spurious in A, in B; those where any is."""
    counts = {
        name: tuple(int(count) for what in ("missed", "spurious") for count in row[what])
        for name, row in comparison["counts"].items()
    }
    return {name: its for name, its in counts.items() if any(its)}


def short_names(first: str, second: str) -> tuple[str, str]:
    """The folders of two paths, from their ends, that tell them apart; the page names no more of a path."""
    ends = [path_parts(first), path_parts(second)]
    length = next((n for n in range(1, max(map(len, ends)) + 1) if ends[0][-n:] != ends[1][-n:]), 1)
    own, its = (parts[-length] if min(map(len, ends)) >= length else "/".join(parts[-length:]) for parts in ends)
    return own, its


def path_parts(path: str) -> tuple[str, ...]:
    """Folders of a path that was written on whatever system, without a drive or a root."""
    pure = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    return tuple(part for part in pure.parts if part != pure.anchor)
