"""Outlines: a mask of a slice as closed polygons, holes joined to what is around them.

A polygon runs half way between the centres of voxels inside and outside, so that a test of centres gives the mask back exactly.
A hole is joined by a cut of no width (a "keyhole", as DICOM describes it for closed planar contours), so that every reader sees
it: whether several contours of a slice add up or take away from each other is not for each of them the same.
"""

from collections.abc import Sequence

import numpy as np
from contourpy import FillType, contour_generator

_HALF = 0.5


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons (m, 2) in columns and rows, not closed by their first point again, of a mask (rows, columns) of bool."""
    place = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    if not len(place[0]):
        return []
    (top, bottom), (left, right) = ((along[0], along[-1] + 1) for along in place)
    framed = np.pad(mask[top:bottom, left:right], 1).astype(float)
    generator = contour_generator(z=framed, name="serial", fill_type=FillType.OuterOffset)
    polygons = []
    for points, offsets in zip(*generator.filled(_HALF, np.inf)):
        rings = [_corners(points[start : stop - 1]) for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist())]
        polygons.append(_joined(rings) + [left - 1, top - 1])
    return polygons


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring without the points at which it runs straight on."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 0]


def _joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """An outer ring and the holes in it as one; each hole in its turn is cut to where it is nearest to what is joined already.

    So no cut runs through another hole.
    """
    outline, holes = rings[0], list(rings[1:])
    while holes:
        nearest = [_nearest(outline, hole) for hole in holes]
        index = min(range(len(holes)), key=lambda number: nearest[number][0])
        _, there, here = nearest[index]
        hole = np.roll(holes.pop(index), -here, axis=0)
        outline = np.concatenate([outline[: there + 1], hole, hole[:1], outline[there:]])
    return outline


def _nearest(outline: np.ndarray, hole: np.ndarray) -> tuple[float, int, int]:
    """Squared distance, point of the outline and point of the hole that are nearest to each other."""
    from scipy.spatial import KDTree

    distances, there = KDTree(outline).query(hole)
    here = int(distances.argmin())
    return float(distances[here]) ** 2, int(there[here]), here
