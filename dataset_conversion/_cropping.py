"""cropping.csv of the multi-organ labels (Zenodo 1169361): where the labels of a case are complete.

The file has 10 fields a row under a header of 9 names, because a comma is missing in the header. So fields are counted, not
named: id, publisher, data set, original id, then the extent: anterior, posterior, left, right, inferior, superior. That the
slices are counted as the label file stores them is an assumption; flipped images have others.
"""

import csv
from dataclasses import replace
from pathlib import Path

from ..conversion.declaration import FoundCase
from ..conversion.download import Download
from ..conversion.layout import pair_files

FILE = "cropping.csv"
LINK = "https://zenodo.org/records/1169361"
TCIA, SYNAPSE = "TCIA", "Synapse"
_FIELDS = 10  # some cut the first one off
_PUBLISHER, _CASE, _FIRST_SLICE, _END_SLICE = 1, 3, 8, 9
_NOTHING = (0, 0)


def with_labelled_slices(download: Download, publisher: str) -> list[FoundCase]:
    """Pair images and labels; outside of the slices that cropping.csv gives, labels may be incomplete.

    Assemblies of several collections leave the file out. There no background is certain, so all of it is ignored.
    """
    cases = pair_files(download)
    official = {path for _, path in download.matches(download.dataset.labels[0])}
    if official.isdisjoint(path for case in cases for path in case.label) and not any(download.matches(FILE)):
        note = f"{FILE} is missing, so all background is ignored; put that of {LINK} into the folder to use it"
        return [replace(case, labelled_slices=_NOTHING, note=note) for case in cases]
    path = download.needed_file(FILE, f"where the labels are complete ({LINK})")
    slices = _read(download, path, publisher)
    if unknown := [case.case for case in cases if case.case not in slices]:
        raise download.error(f"{path} has no row for case {', '.join(unknown[:5])}")
    return [replace(case, labelled_slices=slices[case.case]) for case in cases]


def _read(download: Download, path: Path, publisher: str) -> dict[str, tuple[int, int]]:
    """Case -> (first, end) slice, of the cases of one publisher."""
    slices = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row][1:]
        for line, row in enumerate(rows, start=2):
            missing = _FIELDS - len(row)
            if missing not in (0, 1):
                raise ValueError(f"line {line} has {len(row)} fields, {_FIELDS} are expected")
            if row[_PUBLISHER - missing].strip() == publisher:
                first, end = (int(float(row[field - missing])) for field in (_FIRST_SLICE, _END_SLICE))
                slices[row[_CASE - missing].strip()] = (first, end)
    except (OSError, ValueError, csv.Error) as error:
        raise download.error(f"{path} cannot be read ({error}); download it again from {LINK}") from error
    return slices
