"""Zones of a patch: parts of it in each of which the same classes cannot lie.

The boxes of a case's classes are cut along the axes of its array, so a patch is cut into few blocks, and blocks where the same
classes are impossible are one zone. A label map of zones moves with a patch through any augmentation, as its label map does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.references import Reference
from nnunetv2_cdpd.volumes.grid import Grid

_STEPS = (16, 8, 4)  # blocks along each axis of a patch; fewer where there would be too many zones
_MOST_ZONES = 512


def preprocessed_ranges(
    model: PlaceModel,
    references: Sequence[Reference | None],
    properties: Mapping[str, Any],
    transpose_forward: Sequence[int],
    shape: Sequence[int],
) -> np.ndarray:
    """Where the classes of a case can lie, in its array as nnU-Net preprocesses it: transposed, cropped, resampled.

    Args:
        references: Of the case.
        properties: Of the case, as nnU-Net keeps them.
        transpose_forward: Of the plans.
        shape: (X, Y, Z) of the preprocessed array.

    Returns:
        (K, 3, 2) first and last voxel index, whole or not; infinite where nothing is known.
    """
    before = np.array(properties["shape_before_cropping"])  # transposed, like the entries below
    raw_shape = before[np.argsort(transpose_forward)]
    axes = BodyAxes.of(Grid.of_properties(raw_shape.tolist(), properties))
    if axes is None:
        return np.tile([-np.inf, np.inf], (len(model.classes), 3, 1))
    ranges = axes.in_file(model.boxes(references))[:, list(transpose_forward)]
    starts = np.array(properties["bbox_used_for_cropping"])[:, :1]
    zoom = (np.array(shape) / np.array(properties["shape_after_cropping_and_before_resampling"]))[:, None]
    return (ranges - starts + 0.5) * zoom - 0.5  # voxels of both grids share their outer borders


def patch_zones(ranges: np.ndarray, asked: np.ndarray, patch: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Cut a patch into zones.

    Args:
        ranges: (K, 3, 2) of `preprocessed_ranges`.
        asked: Bool (K,), the classes to be told of.
        patch: In voxels of the array.

    Returns:
        int16 label map of zones, of the patch's shape, and bool (zones, K): the classes that cannot lie there. Nothing is
        impossible in zone 0. A range that ends within a block is taken to end with it.
    """
    shape = [side.stop - side.start for side in patch]
    for steps in _STEPS:
        lengths = [-(-length // steps) for length in shape]  # voxels of a block
        by_axis = [_possible(ranges[:, axis], side, length) for axis, (side, length) in enumerate(zip(patch, lengths))]
        along, across, third = by_axis  # each (blocks, K)
        possible = along[:, None, None] & across[None, :, None] & third[None, None]
        impossible = ~possible.reshape(-1, len(ranges)) & asked
        # False sorts before True: what is nowhere impossible is the first zone
        found, zones = np.unique(np.concatenate([np.zeros((1, len(ranges)), bool), impossible]), axis=0, return_inverse=True)
        if len(found) <= _MOST_ZONES:
            break
    blocks = zones.ravel()[1:].reshape(possible.shape[:3]).astype(np.int16)
    for axis, length in enumerate(lengths):
        blocks = blocks.repeat(length, axis)
    return blocks[tuple(slice(length) for length in shape)], found


def _possible(ranges: np.ndarray, side: slice, length: int) -> np.ndarray:
    """Bool (blocks, K): whether a class can lie at a voxel of each block of so many voxels along one side of a patch."""
    first = np.arange(side.start, side.stop, length)[:, None]
    last = np.minimum(first + length, side.stop) - 1
    return (np.ceil(ranges[:, 0]) <= last) & (np.floor(ranges[:, 1]) >= first)
