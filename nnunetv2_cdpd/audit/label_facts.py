"""LabelFacts: what a label map holds: volume and place of each stored value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.datasets.label_maps import integers, label_values
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, corners_of
from nnunetv2_cdpd.volumes.reading import read_sitk


@dataclass(frozen=True)
class ValueFacts:
    """Of one stored value, or of several together.

    ml: Volume.
    centre: Mean place in mm towards the patient's left, back and head.
    """

    ml: float
    centre: tuple[float, float, float]


@dataclass(frozen=True)
class LabelFacts:
    """size, spacing and corners as in ImageFacts; values: stored value -> facts, background left out."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    corners: tuple[float, ...]
    values: Mapping[int, ValueFacts]

    def of(self, values: Sequence[int]) -> ValueFacts | None:
        """Of several stored values together; None where there is none of them."""
        found = [self.values[value] for value in values if value in self.values]
        if not found:
            return None
        centres, weights = [facts.centre for facts in found], [facts.ml for facts in found]
        x, y, z = np.average(centres, axis=0, weights=weights).tolist()
        return ValueFacts(sum(weights), (x, y, z))


def label_facts(path: Path) -> LabelFacts:
    """Read a label map.

    Raises:
        UserError: The file is missing or damaged, holds values that are no integers, or is not one map.
    """
    image = read_sitk(path)
    array = sitk.GetArrayViewFromImage(image)
    if array.ndim != image.GetDimension() or array.ndim not in (2, 3):
        raise UserError(f"{path} is not one label map of 2 or 3 dimensions")
    values = label_values(array if array.ndim == 3 else array[None], path)
    values = values[values != 0]
    counts, sums = _places(array, values)
    grid = Grid.of_image(image)
    voxel_ml = float(np.prod(grid.spacing)) / 1000
    facts = {}
    for value, count, summed in zip(values.tolist(), counts.tolist(), sums):
        x, y, z = [*grid.position(summed / count).tolist(), 0.0][:3]
        facts[value] = ValueFacts(count * voxel_ml, (x, y, z))
    axes = grid.body_axes if array.ndim == 3 else (0, 1)
    size, spacing = tuple(grid.shape[axis] for axis in axes), tuple(grid.spacing[list(axes)].tolist())
    return LabelFacts(size, spacing, corners_of(grid), facts)


def _places(array: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of each value, and the sums of their indices x, y(, z), float (values, 2 or 3).

    Args:
        array: A label ((z, )y, x), taken slice by slice, in little memory.
        values: That are looked for, sorted, without background.
    """
    counts, sums = np.zeros(len(values), np.int64), np.zeros((len(values), array.ndim))
    for first, part in enumerate(array if array.ndim == 3 else [array]):
        part = integers(part)
        place = np.nonzero(part)
        found = np.searchsorted(values, part[place])
        here = np.bincount(found, minlength=len(values))
        counts += here
        for axis, index in enumerate(place[::-1]):
            sums[:, axis] += np.bincount(found, index, len(values))
        if array.ndim == 3:
            sums[:, 2] += first * here
    return counts, sums
