"""Place: whether organs of patients that were not learned from lie where they can; measured by benchmarks/place.py."""

import json
from collections.abc import Iterable

import numpy as np
from patients import ORGANS
from results import FOLDER

ARMS = {"halves": "every second patient", "three_sources": "three sources that share no organ"}
WAYS = {"image": "by the image alone", "organs": "with the patient's other organs known"}
Counts = dict[str, int]  # voxels of an organ, of them "outside" of where it can lie; of the body, of them "possible"


def place_tables() -> dict[str, str]:
    """Name -> Markdown; none without results."""
    paths = {arm: FOLDER / "place" / f"{arm}.json" for arm in ARMS}
    found = {arm: json.loads(path.read_text()) for arm, path in paths.items() if path.is_file()}
    if not found:
        return {}
    head = [f"{words}: outside" if column == 0 else "body impossible" for words in WAYS.values() for column in range(2)]
    by_organ, short = [], []
    for arm, ways in found.items():
        asked = len(next(iter(ways.values())))
        for organ in ORGANS:
            counts = [[patient[organ] for patient in patients.values() if organ in patient] for patients in ways.values()]
            by_organ.append(f"| {ARMS[arm]} | {organ} | {len(counts[0])} | {_cells(counts)} |")
        everything = [[each for patient in patients.values() for each in patient.values()] for patients in ways.values()]
        short.append(f"| {ARMS[arm]} | {asked} | {_cells(everything)} |")
    return {
        "place": _table(["learned from", "organ", "patients asked", *head], by_organ, left=2),
        "place_short": _table(["learned from", "patients asked", *head], short, left=1),
    }


def _cells(counts: Iterable[list[Counts]]) -> str:
    """Share of the organs' own voxels that lie outside, and mean share of the body in which they cannot lie, of each way."""
    cells = []
    for its in counts:
        outside = sum(each["outside"] for each in its) / sum(each["voxels"] for each in its)
        impossible = 1 - np.mean([each["possible"] / each["body"] for each in its])
        cells += [f"{100 * outside:.2f} %", f"{100 * impossible:.0f} %"]
    return " | ".join(cells)


def _table(columns: list[str], lines: list[str], left: int) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", "|" + "---|" * left + "---:|" * (len(columns) - left), *lines])
