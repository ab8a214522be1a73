"""Ends: where classes begin and end along each axis of the body, in mm; what the image or an ignored part cuts has no end."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.place.references import MARGIN_MM
from nnunetv2_cdpd.volumes.hidden import goes_on_hidden

_STRAY = 1e-3  # of the voxels of a class, at each end, that tell nothing: slips of a pen


def ends_of(mask: np.ndarray, box: Sequence[slice], shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Ends of a structure.

    Args:
        mask: Bool, of the shape of the box; holds a voxel at least.
        box: In voxels of a turned array, the smallest one around the structure.
        shape: Of that array.
        spacing: In mm.

    Returns:
        (3, 2) mm from the middle of the first voxel of the array, the outer faces of the first and of the last voxel; nan where
        the structure reaches the border of the image.
    """
    ends = np.full((3, 2), np.nan)
    for axis, (side, length, mm) in enumerate(zip(box, shape, spacing)):
        counts = np.cumsum(mask.sum(tuple({0, 1, 2} - {axis})))
        stray = int(_STRAY * counts[-1])
        if side.start > 0:
            ends[axis, 0] = (side.start + np.searchsorted(counts, stray, "right") - 0.5) * mm
        if side.stop < length:
            ends[axis, 1] = (side.start + np.searchsorted(counts, counts[-1] - stray) + 0.5) * mm
    return ends


def class_ends(
    label_map: np.ndarray, regions: Sequence[Sequence[int]], spacing: Sequence[float], ignore: int | None = None
) -> np.ndarray:
    """(K, 3, 2): ends of each class of a turned label map, over all its voxels; nan for one that is nowhere.

    An end is unknown where the class may go on in an ignored part too. An ignored rim is none: a completed label map has one
    around a structure, and the end is known but for less than ranges are widened by.

    Args:
        regions: Stored values of each class; (): not annotated.
        ignore: Stored value that says nothing; None: there is none.
    """
    boxes = dict(enumerate(ndimage.find_objects(label_map), start=1))
    ends = np.full((len(regions), 3, 2), np.nan)
    for index, values in enumerate(regions):
        found = [box for value in values if (box := boxes.get(value)) is not None]
        if found:
            around = tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*found))
            ends[index] = ends_of(np.isin(label_map[around], values), around, label_map.shape, spacing)
            if ignore is not None and boxes.get(ignore) is not None:
                ends[index][_goes_on(label_map, values, around, ends[index], spacing, ignore)] = np.nan
    return ends


def _goes_on(
    label_map: np.ndarray,
    values: Sequence[int],
    box: Sequence[slice],
    ends: np.ndarray,
    spacing: Sequence[float],
    ignore: int,
) -> np.ndarray:
    """Bool (3, 2): whether ignored voxels lie against a class, in this box, at its end (3, 2) mm or beyond."""
    found = np.zeros((3, 2), bool)
    for axis, (side, mm) in enumerate(zip(box, spacing)):
        planes = 1 + int(MARGIN_MM / mm)
        for which, step in enumerate((-1, 1)):
            if np.isnan(ends[axis, which]):
                continue
            last = round(ends[axis, which] / mm - 0.5 * step)  # the plane of the end
            first, stop = (side.start, last + 1) if step < 0 else (last, side.stop)
            cut = list(box)
            cut[axis] = slice(max(0, first - planes), stop) if step < 0 else slice(first, stop + planes)
            part = label_map[tuple(cut)]
            found[axis, which] = (np.isin(part, values) & goes_on_hidden(part == ignore, axis, step, planes)).any()
    return found
