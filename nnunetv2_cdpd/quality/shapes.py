"""Shapes: size, place and pieces of each class in a label map, as `features` compares them with those of training cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.volumes.hidden import beside_hidden

CUT_OFF = 0.01  # share of voxels at the border from which on a structure may go on beyond it


@dataclass(frozen=True)
class Shape3D:
    """One class in one image.

    voxels: How many.
    volume_ml: Of all of them.
    centroid_mm: From the first voxel of the array, along its axes.
    pieces: That touch each other nowhere.
    largest_share: Of the voxels, in the largest piece.
    faces: Between voxels inside and outside.
    border_share: Of the voxels, those at the border of the image or beside an ignored voxel.
    """

    voxels: int
    volume_ml: float
    centroid_mm: tuple[float, float, float]
    pieces: int
    largest_share: float
    faces: int
    border_share: float


def shapes_of(
    labels: np.ndarray, members: Mapping[str, Sequence[int]], spacing: Sequence[float], ignore: int | None = None
) -> dict[str, Shape3D]:
    """Shapes of the classes that are there.

    Args:
        labels: (X, Y, Z) of any integers.
        members: Class -> its values in `labels`.
        spacing: Voxel size in mm, in the order of the axes.
        ignore: Value in `labels` that says nothing; None: there is none.
    """
    from scipy import ndimage

    found = {}
    boxes = ndimage.find_objects(labels)
    for name, values in members.items():
        its = [boxes[value - 1] for value in values if 0 < value <= len(boxes) and boxes[value - 1] is not None]
        if not its:
            continue
        box = tuple(slice(min(b[axis].start for b in its), max(b[axis].stop for b in its)) for axis in range(3))
        mask = np.isin(labels[box], list(values))
        numbered, pieces = ndimage.label(mask)
        voxels = int(mask.sum())
        sizes = np.bincount(numbered.ravel())[1:]
        at = [float(axis.mean()) for axis in np.nonzero(mask)]
        found[name] = Shape3D(
            voxels,
            voxels * float(np.prod(spacing)) / 1000,
            tuple((start.start + mean) * mm for start, mean, mm in zip(box, at, spacing)),
            pieces,
            float(sizes.max() / voxels),
            _faces(mask),
            int((mask & (_at_border(box, labels.shape) | _beside_ignored(labels, box, ignore))).sum()) / voxels,
        )
    return found


def _faces(mask: np.ndarray) -> int:
    """Faces between voxels inside and outside; what lies beyond the box is outside."""
    padded = np.pad(mask, 1)
    return int(sum((np.diff(padded.astype(np.int8), axis=axis) != 0).sum() for axis in range(3)))


def _at_border(box: tuple[slice, ...], shape: Sequence[int]) -> np.ndarray:
    """Bool, of the shape of the box: voxels at the first or last plane of an axis; an axis of one plane has no border."""
    border = np.zeros([part.stop - part.start for part in box], bool)
    for axis, (part, length) in enumerate(zip(box, shape)):
        if length < 2:
            continue
        planes = np.moveaxis(border, axis, 0)
        planes[0] |= part.start == 0
        planes[-1] |= part.stop == length
    return border


def _beside_ignored(labels: np.ndarray, box: tuple[slice, ...], ignore: int | None) -> np.ndarray | bool:
    """Bool, of the shape of the box: voxels that share a face with an ignored one, which may lie beside the box."""
    if ignore is None:
        return False
    before = [min(part.start, 1) for part in box]
    wider = tuple(slice(part.start - one, part.stop + 1) for part, one in zip(box, before))
    own = tuple(slice(one, one + part.stop - part.start) for part, one in zip(box, before))
    return beside_hidden(labels[wider] == ignore)[own]
