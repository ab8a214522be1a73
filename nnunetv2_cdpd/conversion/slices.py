"""Slices: which label slice (a picture) belongs to which slice of a DICOM series.

Nothing in a picture says where it lies; names do. The same names on both sides tell at once. Else the n-th label slice is
that of the n-th image file, names counted as people count them (2 before 10), unless something speaks against it.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import Series


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort key by which case 2 comes before case 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def pair_slices(labels: Sequence[Path], series: Series) -> list[Path]:
    """The label slices in the order of the slices of a series.

    Raises:
        UserError: Their number differs, or names, DICOM's numbers and positions do not tell one and the same order.
    """
    folder = labels[0].parent
    if len(labels) != len(series.slices):
        raise UserError(f"{folder} holds {len(labels)} label slices, its image has {len(series.slices)}; download it again")
    of_stem = {path.stem: path for path in labels}
    stems = [entry.path.stem for entry in series.slices]
    if len(of_stem) == len(labels) and set(stems) == set(of_stem):
        return [of_stem[stem] for stem in stems]

    labels = sorted(labels, key=lambda path: natural_key(str(path)))
    for path, following in pairwise(labels):
        if natural_key(str(path)) == natural_key(str(following)):
            raise UserError(f"{path} and {following} have one number; which is first? Rename them")
    entries = series.slices
    by_name = sorted(range(len(entries)), key=lambda index: (natural_key(str(entries[index].path)), entries[index].frame))
    upwards = by_name[-1] > by_name[0]
    for one, other in pairwise(by_name):
        if (other > one) != upwards:
            raise UserError(
                f"{entries[one].path.name} and {entries[other].path.name} of {entries[one].path.parent} do not lie in the "
                f"order of their names, so nothing tells which label slice is whose; name those of {folder} like the image files"
            )
    _check_numbers(labels, series, by_name)
    paired = dict(zip(by_name, labels))
    return [paired[index] for index in range(len(entries))]


def _check_numbers(labels: Sequence[Path], series: Series, by_name: Sequence[int]) -> None:
    """Raise UserError if the numbers of the label slices say another pairing than the order of names."""
    numbers = _numbers(labels)
    if numbers is None:
        return
    entries = [series.slices[index] for index in by_name]
    instances = [entry.instance for entry in entries]
    if set(instances) == set(numbers) and instances != numbers:
        index = next(index for index, number in enumerate(numbers) if instances[index] != number)
        raise UserError(
            f"{labels[index]} and {entries[index].path} are slice {index + 1} by name, but that image is number "
            f"{instances[index]} in DICOM; which is meant? Name the label slices like the image files"
        )
    steps = [after - before for before, after in pairwise(numbers)]
    others = (_numbers([entry.path for entry in entries]), instances)
    if set(steps) != {1} and not any(_go_alike(numbers, other) for other in others):
        index = next(index for index, step in enumerate(steps) if step != 1)
        raise UserError(
            f"{labels[index]} and {labels[index + 1]}: the numbers between are missing, and the image files have no such gap; "
            "download the label slices again, or name them like the image files"
        )


def _go_alike(numbers: Sequence[int], others: Sequence[int | None] | None) -> bool:
    return others is not None and len({None if b is None else a - b for a, b in zip(numbers, others)} - {None}) == 1


def _numbers(paths: Sequence[Path]) -> list[int] | None:
    """The number in each name that counts the files; None if it is not one that alone varies."""
    parts = [re.split(r"(\d+)", path.stem) for path in paths]
    if len({tuple(part[::2]) for part in parts}) > 1:
        return None
    varying = [column for column in zip(*(part[1::2] for part in parts)) if len(set(map(int, column))) > 1]
    return list(map(int, varying[0])) if len(varying) == 1 else None
