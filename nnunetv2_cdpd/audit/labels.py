"""LabelFacts: what a label map holds: volume and place of each stored value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid


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
    """size and spacing as in ImageFacts; values: stored value -> facts, background left out."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    values: Mapping[int, ValueFacts]

    def of(self, values: Sequence[int]) -> ValueFacts | None:
        """Of several stored values together; None where there is none of them."""
        found = [self.values[value] for value in values if value in self.values]
        if not found:
            return None
        centre = np.average([facts.centre for facts in found], axis=0, weights=[facts.ml for facts in found])
        return ValueFacts(sum(facts.ml for facts in found), tuple(centre.tolist()))


def label_facts(path: Path) -> LabelFacts:
    """Read a label map.

    Raises:
        UserError: It cannot be read, holds values that are no integers, or is not one map.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:  # its own words name the path, which a page does not show
        raise UserError("its label cannot be read") from error
    array = sitk.GetArrayViewFromImage(image)
    if array.ndim != image.GetDimension() or array.ndim not in (2, 3):
        raise UserError("its label is not one map of 2 or 3 dimensions")
    labelled = np.nonzero(array)
    stored = array[labelled]
    values = stored.astype(np.int64)
    if not np.array_equal(values, stored):
        raise UserError("its label holds values that are no integers")
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    places = [np.bincount(inverse, index, len(distinct)) / counts for index in labelled[::-1]]  # x, y(, z) of the file
    voxel_ml = float(np.prod(image.GetSpacing())) / 1000
    facts = {}
    for value, count, *index in zip(distinct.tolist(), counts.tolist(), *(place.tolist() for place in places)):
        centre = image.TransformContinuousIndexToPhysicalPoint(index)
        facts[value] = ValueFacts(count * voxel_ml, tuple([*centre, 0.0][:3]))
    axes = Grid.of_image(image).body_axes if array.ndim == 3 else (0, 1)
    size, spacing = (tuple(get()[axis] for axis in axes) for get in (image.GetSize, image.GetSpacing))
    return LabelFacts(size, spacing, facts)
