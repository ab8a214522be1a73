"""Structure sets and segmentations of many cases in one folder, found by what they refer to: no name tells whose they are."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.volumes.dicom import find_series
from nnunetv2_cdpd.volumes.dicom.label_files import label_files_among, read_label_object
from nnunetv2_cdpd.volumes.dicom.label_object import LabelObject, SeriesReference


def labels_by_series(images: Mapping[str, Sequence[Path]], files: Iterable[Path], told: list[str]) -> dict[str, tuple[Path, ...]]:
    """Case -> the files that refer to one of its series.

    Args:
        images: Case -> files of its series, each series in a folder of its own.
        files: Of labels, and others.
        told: Gets a line for each file that cannot be read, or is of no case.
    """
    objects: list[LabelObject] = []
    for path in files:
        try:
            objects += map(read_label_object, label_files_among([path]))
        except UserError as error:
            told.append(one_line(error))
    cases_of: dict[SeriesReference, list[str]] = {}
    for case, paths in images.items():
        firsts = {path.parent: path for path in sorted(paths, reverse=True)}
        for reference in _references(firsts.values()):
            cases_of.setdefault(reference, []).append(case)
    found: dict[str, list[Path]] = {}
    for each in objects:
        cases = dict.fromkeys(case for reference, those in cases_of.items() if each.is_of(reference) for case in those)
        for case in cases:
            found.setdefault(case, []).append(each.path)
        if not cases:
            told.append(f"{each.path}: refers to no series of a case, so it is not taken")
    return {case: tuple(paths) for case, paths in found.items()}


def _references(files: Iterable[Path]) -> list[SeriesReference]:
    """Of the series that files are slices of; what is none, or damaged, is told when its case is converted."""
    references: list[SeriesReference] = []
    for path in files:
        try:
            references += map(SeriesReference.of, find_series([path]).series)
        except UserError:
            continue
    return references
