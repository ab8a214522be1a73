"""Outlines of masks: a test of voxel centres gives every mask back, also with holes, islands in holes and lone voxels."""

import numpy as np
import pytest
from builders.derived_objects import blobs, inside
from scipy.ndimage import label

from nnunetv2_cdpd.volumes.dicom.contours import area_inside
from nnunetv2_cdpd.volumes.dicom.outlines import outlines


def area(polygon):
    x, y = polygon.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def drawn(polygons, shape):
    return sum((inside(polygon, shape).astype(int) for polygon in polygons), np.zeros(shape, int))


@pytest.mark.parametrize("seed", range(12))
def test_centres_of_voxels_give_the_mask_back(seed):
    random = np.random.default_rng(seed)
    mask = random.random((random.integers(3, 24), random.integers(3, 24))) < random.uniform(0.05, 0.95)
    if seed % 2:
        mask = blobs((3, 30, 26), seed)[1] > 0
    found = outlines(mask)
    assert np.array_equal(drawn(found, mask.shape), mask)
    assert label(mask)[1] <= len(found) <= label(mask, np.ones((3, 3)))[1] or len(found) <= label(mask)[1]


def test_one_voxel_is_a_diamond_around_its_centre():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (polygon,) = outlines(mask)
    assert sorted(map(tuple, polygon.tolist())) == [(2.5, 2), (3, 1.5), (3, 2.5), (3.5, 2)]
    assert outlines(np.zeros((4, 5), bool)) == []


def test_a_box_has_corners_only():
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:11] = True
    (polygon,) = outlines(mask)
    assert len(polygon) == 8 and area(polygon) == 5 * 8 - 4 * 0.125  # each corner is cut by an eighth of a voxel


def test_holes_are_cut_to_what_is_around_them_and_an_island_stays_apart():
    mask = np.zeros((40, 40), bool)
    mask[2:38, 2:38] = True
    mask[5:9, 5:9] = mask[5:9, 12:20] = mask[20:34, 8:30] = False
    mask[25:28, 14:20] = True
    found = outlines(mask)
    assert len(found) == 2 and np.array_equal(drawn(found, mask.shape), mask)
    around = max(found, key=len)
    edges = {(*start, *stop) for start, stop in zip(around.tolist(), np.roll(around, -1, axis=0).tolist())}
    twice = [edge for edge in edges if (*edge[2:], *edge[:2]) in edges]
    assert len(twice) == 2 * 3  # each of three holes by a cut there and back
    lengths = [np.hypot(x1 - x0, y1 - y0) for x0, y0, x1, y1 in twice]
    assert max(lengths) < 11.5  # to what is nearest, no cut across the others


def test_no_cut_runs_through_another_hole():
    """Nearest by corners alone, the small hole would be cut to the notch, through the slit."""
    mask = np.zeros((40, 60), bool)
    mask[5:35, 2:58] = True
    mask[5:15, 30] = mask[16, 5:55] = mask[18, 30] = False
    (columns, rows), inner = area_inside(outlines(mask), mask.shape[::-1])
    found = np.zeros(mask.shape[::-1], bool)
    found[columns, rows] = inner
    assert np.array_equal(found.T, mask)
