"""Outlines: a mask of a slice as closed polygons, holes joined to what is around them.

A polygon runs half way between the centres of voxels inside and outside, so that a test of centres gives the mask back exactly.
A hole is joined by a cut of no width (a "keyhole", as DICOM describes it for closed planar contours), so that every reader sees
it: whether several contours of a slice add up or take away from each other is not for each of them the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

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
        rings = [points[start : stop - 1] for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist())]
        polygons.append(_corners(_joined(rings)) + [left - 1, top - 1])
    return polygons


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring without the points at which it runs straight on; those at which a cut turns back stay."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 0
    return ring[turns | ((before * after).sum(1) < 0)]


def _joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """An outer ring and the holes in it as one; each hole in its turn is cut to where it is nearest to what is joined already.

    So no cut runs through another hole, if rings have all their points: between two corners a hole may be nearer.
    """
    outline, holes = rings[0], list(rings[1:])
    nearest = _nearest(outline, holes)
    while holes:
        index = min(range(len(holes)), key=lambda number: nearest[number].distance)
        cut, hole = nearest.pop(index), holes.pop(index)
        there = int(np.abs(outline - cut.point).sum(1).argmin())
        ring = np.roll(hole, -cut.start, axis=0)
        outline = np.concatenate([outline[: there + 1], ring, ring[:1], outline[there:]])
        nearest = [min(pair, key=lambda each: each.distance) for pair in zip(nearest, _nearest(hole, holes))]
    return outline


class _Cut(NamedTuple):
    """distance: Between the point of an outline and the one with which a hole begins, nearest to each other."""

    distance: float
    point: np.ndarray
    start: int


def _nearest(outline: np.ndarray, holes: Sequence[np.ndarray]) -> list[_Cut]:
    """The shortest cut from an outline to each of these holes."""
    from scipy.spatial import KDTree

    tree, cuts = KDTree(outline), []
    for hole in holes:
        distances, there = tree.query(hole)
        start = int(distances.argmin())
        cuts.append(_Cut(float(distances[start]), outline[there[start]], start))
    return cuts
