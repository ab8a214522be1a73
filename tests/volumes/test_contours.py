"""Contours as masks: against a slow count of crossings, areas known on paper, and rules for what lies beside slices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_cdpd.volumes.dicom.contours import ON_LINE, area_inside, draw_contours

SIZE = (14, 12)


def filled(contours, shape=SIZE):
    """`area_inside` as a mask of the whole slice."""
    mask = np.zeros(shape, bool)
    if (found := area_inside([np.array(points, float) for points in contours], shape)) is not None:
        mask[found[0]] = found[1]
    return mask


def brute(contours, shape=SIZE):
    """Pixel by pixel: crossings of a ray to the right, and the distance to every line."""
    inside, near, far = (np.zeros(shape, kind) for kind in (bool, bool, float))
    for x, y in np.ndindex(shape):
        crossings, nearest = 0, np.inf
        for points in contours:
            for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]]):
                if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                    crossings += 1
                length = (x1 - x0) ** 2 + (y1 - y0) ** 2
                share = 0 if length == 0 else min(1, max(0, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length))
                nearest = min(nearest, np.hypot(x - x0 - share * (x1 - x0), y - y0 - share * (y1 - y0)))
        inside[x, y], far[x, y] = crossings % 2, nearest
    near = far <= ON_LINE
    return inside | near, np.abs(far - ON_LINE) < 0.6 * ON_LINE  # where rounding may decide otherwise


def test_a_box_holds_the_centres_in_it_and_on_its_lines():
    assert np.argwhere(filled([[(1.5, 2.5), (4.5, 2.5), (4.5, 4.5), (1.5, 4.5)]])).tolist() == [
        [x, y] for x in (2, 3, 4) for y in (3, 4)
    ]
    assert filled([[(2, 3), (4, 3), (4, 5), (2, 5)]]).sum() == 9  # drawn through centres: all of these belong to it


@pytest.mark.parametrize("around", [1, -1])
@pytest.mark.parametrize("inwards", [1, -1])
def test_an_inner_contour_is_a_hole_whichever_way_it_runs(around, inwards):
    outer = [(0.5, 0.5), (10.5, 0.5), (10.5, 10.5), (0.5, 10.5)][::around]
    hole = [(2.5, 2.5), (8.5, 2.5), (8.5, 8.5), (2.5, 8.5)][::inwards]
    island = [(4.5, 4.5), (6.5, 4.5), (6.5, 6.5), (4.5, 6.5)]
    expected = np.zeros(SIZE, bool)
    expected[1:11, 1:11] = True
    expected[3:9, 3:9] = False
    assert np.array_equal(filled([outer, hole]), expected)
    expected[5:7, 5:7] = True
    assert np.array_equal(filled([outer, hole, island]), expected)
    assert filled([outer, hole])[9, 9] and not filled([outer, hole])[8, 8]


@pytest.mark.parametrize("channel", [5.5, 5.0])
def test_a_hole_behind_a_channel_without_width_is_a_hole(channel):
    keyhole = [(0.5, channel), (0.5, 0.5), (10.5, 0.5), (10.5, 10.5), (0.5, 10.5), (0.5, channel)]
    keyhole += [(2.5, channel), (2.5, 8.5), (8.5, 8.5), (8.5, 2.5), (2.5, 2.5), (2.5, channel)]
    expected = np.zeros(SIZE, bool)
    expected[1:11, 1:11] = True
    expected[3:9, 3:9] = False
    assert np.array_equal(filled([keyhole]), expected)


def test_what_reaches_outside_of_the_image_is_cut_off():
    assert filled([[(-1e6, -1e6), (1e6, -1e6), (1e6, 1e6), (-1e6, 1e6)]]).all()
    assert np.array_equal(np.argwhere(filled([[(-5, -5), (1.5, -5), (1.5, 0.5), (-5, 0.5)]])), [[0, 0], [1, 0]])
    assert area_inside([np.array([(20.0, 1), (25, 1), (25, 5)])], SIZE) is None
    left_of_it = filled([[(-9, 1.5), (3.5, 1.5), (3.5, 4.5), (-9, 4.5)], [(-8, 2.5), (1.5, 2.5), (1.5, 3.5), (-8, 3.5)]])
    assert np.argwhere(left_of_it[:, 3]).ravel().tolist() == [2, 3]


_points = st.tuples(st.floats(-3, 16, width=16), st.floats(-3, 14, width=16)) | st.tuples(
    st.integers(-1, 14), st.integers(-1, 12)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_points, min_size=1, max_size=9), min_size=1, max_size=3))
def test_any_contours_hold_what_a_count_of_crossings_says(contours):
    expected, unsure = brute(contours)
    assert ((filled(contours) == expected) | unsure).all()


def test_many_lines_are_taken_some_at_a_time(monkeypatch):
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    star = np.stack([7 + (3 + 3 * (np.arange(400) % 2)) * np.cos(angles), 6 + 5 * np.sin(angles)], 1)
    whole = filled([star])
    monkeypatch.setattr("nnunetv2_cdpd.volumes.dicom.contours._MOST_CROSSINGS", 7)
    assert np.array_equal(filled([star]), whole)


# ---- slices ----------------------------------------------------------------------------------------------------------

SHAPE, SPACING_MM = (14, 12, 9), np.array([0.8, 0.9, 2.5])
BOX = [(1.5, 2.5), (4.5, 2.5), (4.5, 4.5), (1.5, 4.5)]


def on_slice(points, depth):
    return np.array([(x, y, depth) for x, y in points], float)


def volume(drawing):
    array = np.zeros(SHAPE, bool)
    for place, mask in drawing.patches:
        array[place] |= mask
    return array


def test_contours_lie_on_their_slices():
    drawing = draw_contours([on_slice(BOX, 3), on_slice(BOX, 4)], SHAPE, SPACING_MM)
    assert (drawing.notes, drawing.problem) == ([], None)
    expected = np.zeros(SHAPE, bool)
    expected[2:5, 3:5, 3:5] = True
    assert np.array_equal(volume(drawing), expected)


def test_a_contour_beside_the_slices_is_taken_on_the_nearest_and_told():
    drawing = draw_contours([on_slice(BOX, 3.3), on_slice(BOX, 4.3)], SHAPE, SPACING_MM)
    assert np.flatnonzero(volume(drawing).any((0, 1))).tolist() == [3, 4]
    assert drawing.notes == ["contours beside the slices taken on the nearest one"]
    assert not draw_contours([on_slice(BOX, 3.05), on_slice(BOX, 4.05)], SHAPE, SPACING_MM).notes


def test_of_contours_between_slices_the_nearest_is_taken_and_none_cuts_a_hole():
    drawing = draw_contours([on_slice(BOX, depth) for depth in (3, 3.5, 4, 4.5, 5)], SHAPE, SPACING_MM)
    assert volume(drawing).sum() == 3 * 6
    assert drawing.notes == ["contours between slices left out, others are nearer to these"]


def test_contours_beyond_the_image_are_told():
    drawing = draw_contours([on_slice(BOX, depth) for depth in (-1, 0, 1, 9, 1e12)], SHAPE, SPACING_MM)
    assert np.flatnonzero(volume(drawing).any((0, 1))).tolist() == [0, 1]
    assert drawing.notes == ["contours beyond the first or last slice of the image left out"]
    nothing = draw_contours([on_slice(np.array(BOX) + 100, 3)], SHAPE, SPACING_MM)
    assert not nothing.patches and nothing.notes == ["its contours hold no voxel's centre of the image"]


def test_a_contour_given_twice_does_not_take_itself_away():
    drawing = draw_contours([on_slice(BOX, 3), on_slice(BOX, 3)], SHAPE, SPACING_MM)
    assert volume(drawing).sum() == 6 and drawing.notes == ["contours given twice taken once"]


def test_contours_across_the_slices_are_not_taken():
    across = np.array([(1, 3, 1), (5, 3, 1), (5, 3, 6), (1, 3, 6)], float)
    drawing = draw_contours([on_slice(BOX, 3), across], SHAPE, SPACING_MM)
    assert not drawing.patches and drawing.problem == "its contours are not parallel to the slices of the image"


def test_a_structure_drawn_on_every_other_slice_needs_a_word_on_what_lies_between():
    boxes = [on_slice(BOX, depth) for depth in (1, 3, 5)]
    refused = draw_contours(boxes, SHAPE, SPACING_MM)
    assert not refused.patches and refused.problem.startswith("it has contours on 3 of 5 slices, nowhere on neighbouring ones")
    assert "`fill_gaps: 1`" in refused.problem
    assert np.flatnonzero(volume(draw_contours(boxes, SHAPE, SPACING_MM, 0)).any((0, 1))).tolist() == [1, 3, 5]
    filled_up = draw_contours(boxes, SHAPE, SPACING_MM, 1)
    assert np.array_equal(volume(filled_up)[3, 3], np.isin(np.arange(9), range(1, 6)))
    assert volume(filled_up).sum() == 5 * 6 and filled_up.notes == ["slices without a contour filled between others"]


def test_gaps_between_parts_stay_empty_and_are_told():
    drawing = draw_contours([on_slice(BOX, depth) for depth in (0, 1, 5, 6, 8)], SHAPE, SPACING_MM, 1)
    assert np.flatnonzero(volume(drawing).any((0, 1))).tolist() == [0, 1, 5, 6, 7, 8]
    assert drawing.notes == [
        "slices without a contour filled between others",
        "slices without a contour between others left empty",
    ]
    assert draw_contours([on_slice(BOX, depth) for depth in (0, 1, 5)], SHAPE, SPACING_MM).notes == [
        "slices without a contour between others left empty"
    ]


def test_the_shape_between_two_contours_is_in_the_middle_of_both():
    small, large = [(4.5, 4.5), (6.5, 4.5), (6.5, 6.5), (4.5, 6.5)], [(2.5, 2.5), (8.5, 2.5), (8.5, 8.5), (2.5, 8.5)]
    between = volume(draw_contours([on_slice(small, 2), on_slice(large, 4)], SHAPE, np.ones(3), 1))[:, :, 3]
    expected = np.zeros(between.shape, bool)
    expected[4:8, 4:8] = True  # 2 x 2 pixels below, 6 x 6 above
    assert np.array_equal(between, expected)
