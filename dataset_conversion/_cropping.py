"""cropping.csv of the multi-organ labels (Zenodo 1169361): where the labels of a case are complete."""

import csv
from dataclasses import replace

from ..conversion.declaration import FoundCase
from ..conversion.download import Download
from ..conversion.layout import pair_files

FILE = "cropping.csv"
_TCIA_ROWS = 43  # come first, then those of BTCV; both number their cases from 1
# Columns. That the slices are counted as the label file stores them is an assumption; flipped images have others.
_CASE, _FIRST_SLICE, _END_SLICE = 2, 7, 8


def with_labelled_slices(download: Download, tcia: bool) -> list[FoundCase]:
    """Pair images and labels; outside of the slices that cropping.csv gives, labels may be incomplete."""
    path = download.needed_file(FILE, "where the labels are complete")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    rows = rows[:_TCIA_ROWS] if tcia else rows[_TCIA_ROWS:]
    try:
        slices = {row[_CASE].strip(): (int(float(row[_FIRST_SLICE])), int(float(row[_END_SLICE]))) for row in rows}
    except (IndexError, ValueError) as error:
        raise download.error(f"{path} cannot be read ({error}); download it again") from error
    cases = pair_files(download)
    if unknown := [case.case for case in cases if case.case not in slices]:
        raise download.error(f"{path} has no row for case {', '.join(unknown[:5])}")
    return [replace(case, labelled_slices=slices[case.case]) for case in cases]
