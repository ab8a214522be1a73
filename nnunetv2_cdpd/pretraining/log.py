"""RunLog: the means of what was measured since the last row, as a row of a table; and whether the encoder collapses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.jobs import write_text
from nnunetv2_cdpd.jobs.tables import csv_of

COLLAPSED = 0.1  # spread below which an encoder says nearly the same of everything
TELLS_NOTHING = 0.01  # information below which the teacher's answers hardly depend on the slice
_LATE = 0.5  # share of the iterations after which it should tell something
_ROUNDED = 6


@dataclass
class RunLog:
    """Rows of the log, and the sums of the next one; goes into the checkpoint, so that no iteration is told twice.

    iterations: Of the whole run.
    warm_up: Iterations before which a random encoder may look like a collapsed one.
    """

    iterations: int
    warm_up: int
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0

    def add(self, done: int, measured: Mapping[str, float]) -> dict[str, float] | None:
        """Take in what an iteration measured; returns a row after the first, the tenth, every fiftieth and the last."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in measured.items()}
        self.summed += 1
        if done not in (1, 10, self.iterations) and done % 50:
            return None
        means = {name: round(total / self.summed, _ROUNDED) for name, total in self.sums.items()}
        row = {"iteration": float(done), **means}
        self.rows.append(row)
        self.sums, self.summed = {}, 0
        return row

    def warn_of_collapse(self, row: Mapping[str, float], tell: Callable[[str], None]) -> None:
        """Say so if the slices, or the patches, have all but the same embedding, or get all but the same answer."""
        if row["iteration"] < self.warm_up:
            return
        for key, what in (("slice_spread", "slices"), ("patch_spread", "patches")):
            if row[key] < COLLAPSED:
                tell(
                    f"WARNING: the encoder collapses: the embeddings of all {what} are nearly the same (standard deviation "
                    f"{row[key]:.3f}; 0: the same, 1: as different as can be); begin again with a lower argument lr or a larger "
                    "argument batch_size"
                )
        if row["iteration"] >= _LATE * self.iterations and row["information"] < TELLS_NOTHING:
            tell(
                "WARNING: the teacher says nearly the same of every slice (information "
                f"{row['information']:.3f}; 0: the same, 1: as different as can be): it has not begun to learn, or collapses; "
                "take more iterations, or a larger argument batch_size"
            )

    def write(self, path: Path) -> None:
        """As CSV."""
        names = list(self.rows[0]) if self.rows else []
        write_text(path, csv_of([names, *([int(row["iteration"]), *list(row.values())[1:]] for row in self.rows)]))

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows, "sums": self.sums, "summed": self.summed}

    def load(self, state: Mapping[str, Any]) -> None:
        self.rows, self.sums, self.summed = list(state["rows"]), dict(state["sums"]), int(state["summed"])
