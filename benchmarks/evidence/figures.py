"""Figures: the rows that a script of benchmarks/ measures, printed as they come, kept as a small JSON file, and the table of it.

A file says its columns and how their numbers are written, so a table is made from it without the script that measured it.
"""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import FOLDER, versions

from nnunetv2_cdpd.jobs import write_text

Cell = str | float | None  # None: not measured
# Folders of benchmarks/results with such files: scripts, and what earlier versions of scripts printed
SCRIPTS = ("blocks", "compression", "conversion", "demo_before", "duplicates", "earlier", "end_to_end", "export", "levers")
SCRIPTS += ("loader", "loss", "network", "onnx_models", "prediction", "resampling", "submit_kills", "two_cores")


class Figures:
    """Figures of one run of a script: benchmarks/results/SCRIPT/NAME.json.

    Args:
        script: Its file.
        name: One for each setting; a run takes the place of the last one of its name.
        columns: Heading and format of numbers, as Python writes formats; "": words. Not a dict: headings may be the same.
        setting: What the rows depend on, as JSON has it.
    """

    def __init__(self, script: str, name: str, columns: Sequence[tuple[str, str]], **setting: Any) -> None:
        self.path = FOLDER / Path(script).stem / f"{name}.json"
        self.columns, self.setting = [list(column) for column in columns], setting
        self.rows: list[list[Cell]] = []

    def add(self, *cells: Cell) -> None:
        """A row, which is printed; before the first one the head of the table."""
        if not self.rows:
            print(_head(self.columns), flush=True)
        self.rows.append(list(cells))
        print(_line(self.columns, self.rows[-1]), flush=True)

    def write(self) -> None:
        """Once all rows are there; a run that was stopped leaves the last file as it is."""
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "Python": platform.python_version()}
        content = {"setting": self.setting, "machine": machine, "versions": versions(), "columns": self.columns}
        rounded = [[float(f"{cell:.8g}") if isinstance(cell, float) else cell for cell in row] for row in self.rows]
        rows = ",\n".join(json.dumps(row, allow_nan=False) for row in rounded)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, f'{json.dumps(content)[:-1]}, "rows": [\n{rows}\n]}}\n')


def figure_tables() -> dict[str, str]:
    """Name -> Markdown: SCRIPT_NAME of each file, and SCRIPT of all files of a folder where they have the same columns."""
    made = {}
    for script in SCRIPTS:
        files = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / script).glob("*.json"))}
        made |= {f"{script}_{name}": _table(file["columns"], file["rows"]) for name, file in files.items()}
        columns = [file["columns"] for file in files.values()]
        if columns and all(its == columns[0] for its in columns):
            made[script] = _table(columns[0], [row for file in files.values() for row in file["rows"]])
    return made


def _table(columns: list[list[str]], rows: list[list[Cell]]) -> str:
    return "\n".join([_head(columns), *(_line(columns, row) for row in rows)])


def _head(columns: list[list[str]]) -> str:
    under = "".join("---:|" if form else "---|" for _, form in columns)
    return f"| {' | '.join(heading for heading, _ in columns)} |\n|{under}"


def _line(columns: list[list[str]], row: list[Cell]) -> str:
    """Words stand as they are, also where numbers are expected: "does not fit", or what was printed."""
    if len(row) != len(columns):
        raise ValueError(f"{len(row)} cells of {len(columns)} columns: {row}")
    cells = [
        "" if cell is None else cell if isinstance(cell, str) else format(cell, form) for cell, (_, form) in zip(row, columns)
    ]
    return f"| {' | '.join(cells)} |"
