"""Sides: which connected parts of a merged label are the patient's left and right, where nothing speaks against it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.volumes.grid import Grid

BODY_HU = -300.0
_LARGE = 0.1  # of the structure's volume; smaller parts follow the plane between the large ones
_ACROSS = 0.02  # of a part's voxels on the other side of the plane; more, and it is a horseshoe or two parts in one
_LEAST_MM = 15.0  # from the plane to a part's centre


@dataclass(frozen=True)
class SidePair:
    """A merged label of two sides.

    merged, left, right: Stored values.
    inside: Stored values of what lies in it; they keep their value, but they belong to the part that surrounds them.
    """

    name: str
    merged: int
    left: int
    right: int
    inside: tuple[int, ...] = ()


def split_sides(label: np.ndarray, image: np.ndarray, grid: Grid, pair: SidePair) -> str | None:
    """Give the voxels of a merged label the value of their side, in place.

    Args:
        label: Stored values (x, y, z).
        image: HU (x, y, z).
        grid: Of both; tells the patient's left-right axis, whatever the order of the axes.

    Returns:
        None if it is done, else why it is left merged; the label is then as it was.
    """
    if grid.looks_lost:
        return "its header holds no geometry"
    where = np.isin(label, (pair.merged, *pair.inside))
    if not (label == pair.merged).any():
        return None
    (box,) = ndimage.find_objects(where.view(np.uint8))
    parts, count = ndimage.label(where[box], ndimage.generate_binary_structure(3, 3))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    # Position of each voxel along the patient's left-right axis, mm, growing towards the left side.
    x_of = sum(weight * index for weight, index in zip(grid.affine[0], np.ogrid[box])) + grid.affine[0, 3]
    x_of = x_of.astype(np.float32)
    centres = ndimage.mean(x_of, parts, np.arange(1, count + 1))
    body = _body_centre(image, grid)
    large = np.flatnonzero(sizes >= _LARGE * sizes.sum())
    if not 1 <= len(large) <= 2:
        return f"{len(large) or 'no'} large parts"
    if len(large) == 2 and (min(centres[large]) > body) == (max(centres[large]) > body):
        return "both large parts lie on one side of the body"
    plane = body if len(large) == 1 else float(np.mean([min(centres[large]), max(centres[large])]))
    for index in large:
        if abs(centres[index] - plane) < _LEAST_MM:
            return "a large part lies in the middle"
        other = (x_of > plane) != (centres[index] > plane)
        if np.count_nonzero(other & (parts == index + 1)) > _ACROSS * sizes[index]:
            return "a large part reaches across the middle"
    view = label[box]
    merged = view == pair.merged
    view[merged] = np.where((centres > plane)[parts[merged] - 1], pair.left, pair.right)
    return None


def _body_centre(image: np.ndarray, grid: Grid) -> float:
    """Middle of the body along the left-right axis, mm; every fourth voxel is enough."""
    inside = np.argwhere(image[::4, ::4, ::4] > BODY_HU) * 4
    if not len(inside):
        inside = np.array([np.array(grid.shape) / 2])
    x = inside @ grid.affine[0, :3] + grid.affine[0, 3]
    return float((np.percentile(x, 1) + np.percentile(x, 99)) / 2)
