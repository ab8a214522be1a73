"""LabelFacts: what a label map holds: volume and place of each stored value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

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
    labelled = np.nonzero(array)
    stored = array[labelled]
    values = stored.astype(np.int64)
    if not np.array_equal(values, stored):
        raise UserError(f"{path} holds values that are no integers; was it resampled as an image?")
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    places = [np.bincount(inverse, index, len(distinct)) / counts for index in labelled[::-1]]  # x, y(, z) of the file
    grid = Grid.of_image(image)
    voxel_ml = float(np.prod(grid.spacing)) / 1000
    facts = {}
    for value, count, *index in zip(distinct.tolist(), counts.tolist(), *(place.tolist() for place in places)):
        x, y, z = [*grid.position(index).tolist(), 0.0][:3]
        facts[value] = ValueFacts(count * voxel_ml, (x, y, z))
    axes = grid.body_axes if array.ndim == 3 else (0, 1)
    size, spacing = tuple(grid.shape[axis] for axis in axes), tuple(grid.spacing[list(axes)].tolist())
    return LabelFacts(size, spacing, corners_of(grid), facts)
