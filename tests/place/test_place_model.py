"""Place: bodies turned, looked at and learned from; what a class's range is, and when nothing is said."""

import numpy as np
import pytest
import SimpleITK as sitk
from builders.bodies import ORGANS, RADIUS, SPACING, body_cases, made_up_body

from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.body import block_means, body_slices
from nnunetv2_cdpd.place.ends import class_ends
from nnunetv2_cdpd.place.model import PlaceModel, learn_place
from nnunetv2_cdpd.place.references import AxisModel, Reference, learn_axis
from nnunetv2_cdpd.volumes.grid import Grid

ALL = ((1,), (2,), (3,))
HEIGHTS, DEPTHS, SIDES = np.array(list(ORGANS.values())).T


def learned(cases, regions):
    """The model of bodies; regions: of each case."""
    slices = [body_slices(image, SPACING) for image, _ in cases]
    ends = np.stack([class_ends(labels, its, SPACING) for (_, labels), its in zip(cases, regions)])
    present = np.array([[bool(values) for values in its] for its in regions])
    return learn_place(tuple(ORGANS), slices, ends, present)


@pytest.fixture(scope="module")
def model():
    cases = list(body_cases(12))
    return learned(cases, [ALL] * 12)[0]


@pytest.mark.parametrize("axes", ["LPS", "RAI", "SLP", "PIR", "ASR"])
def test_an_array_is_turned_to_the_body_whatever_its_axes_are(axes):
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # height, depth, side
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4.0, 3.0, 2.0))
    stored = sitk.DICOMOrient(image, axes)
    found = BodyAxes.of(Grid.of_image(stored))
    assert found.spacing == (2.0, 3.0, 4.0) and found.shape == (2, 3, 4)
    np.testing.assert_array_equal(found.turned(sitk.GetArrayFromImage(stored)), array)
    # mm of the second slice, of the last two rows, of all but the first column
    box = np.array([[1.5, 9.0], [2.0, 6.0], [3.9, np.inf]])
    np.testing.assert_array_equal(found.turned(sitk.GetArrayFromImage(stored)[found.voxels(box)]), array[1:2, 1:3, 1:4])
    wanted = (slice(1, 2), slice(1, 3), slice(1, 4))
    assert found.turned_box(found.voxels(box)) == wanted


def test_an_oblique_grid_and_a_file_without_orientation_have_no_axes():
    image = sitk.Image(4, 4, 4, sitk.sitkUInt8)
    turned = sitk.Euler3DTransform((0, 0, 0), 0, 0, np.radians(40))
    image.SetDirection(turned.GetMatrix())
    assert BodyAxes.of(Grid.of_image(image)) is None and BodyAxes.of(None) is None


def test_means_of_blocks_leave_out_what_does_not_fill_one():
    np.testing.assert_array_equal(block_means(np.arange(10.0).reshape(2, 5), (2, 2)), [[3.0, 5.0]])


def test_an_image_without_a_body_has_no_slices():
    assert body_slices(np.full((5, 8, 8), -1000.0, np.float32), SPACING) is None


def test_an_image_of_a_few_slices_has_none_either():
    image, _ = made_up_body(300, 340, seed=0)  # five of 8 mm
    assert len(body_slices(image, SPACING).heights) == 5 and body_slices(image[:4], SPACING) is None


def test_ends_are_the_outer_faces_of_a_class_and_unknown_where_the_image_cuts_it():
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[2:4, 0:3, 1:2] = 1
    labels[3, 4, 2] = 2  # nested in 1
    ends = class_ends(labels, [(1,), (1, 2), (), (2,)], (2.0, 3.0, 4.0))
    np.testing.assert_array_equal(ends[0], [[3.0, 7.0], [np.nan, 7.5], [2.0, 6.0]])
    np.testing.assert_array_equal(ends[1], [[3.0, 7.0], [np.nan, np.nan], [2.0, 10.0]])
    assert np.isnan(ends[2]).all()
    np.testing.assert_array_equal(ends[3], [[5.0, 7.0], [10.5, np.nan], [6.0, 10.0]])


def test_a_stray_voxel_is_no_end():
    labels = np.zeros((40, 12, 12), np.uint8)
    labels[10:30, 1:11, 1:11] = 1  # 2000 voxels
    labels[38, 5, 5] = 1
    assert class_ends(labels, [(1,)], (1.0, 1.0, 1.0))[0, 0].tolist() == [9.5, 29.5]


IGNORED = 7


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("towards", ["last", "first"])
def test_an_end_at_an_ignored_part_is_unknown_and_the_others_are_not(axis, towards):
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:11, 8:12, 8:12] = 1
    labels[11:] = IGNORED
    labels = (labels if towards == "last" else labels[::-1]).swapaxes(0, axis)
    expected = np.array([[7.5, 11.5]] * 3)
    expected[axis] = [4.5, np.nan] if towards == "last" else [np.nan, 14.5]
    np.testing.assert_array_equal(class_ends(labels, [(1,)], (1.0, 1.0, 1.0), IGNORED)[0], expected)


def test_ignored_slices_between_annotated_ones_hide_the_ends_along_them_only():
    labels = np.full((40, 12, 12), IGNORED, np.uint8)
    labels[::5] = 0
    labels[10:30:5, 3:9, 4:8] = 1
    ends = class_ends(labels, [(1,)], (5.0, 1.0, 1.0), IGNORED)[0]
    np.testing.assert_array_equal(ends, [[np.nan, np.nan], [2.5, 8.5], [3.5, 7.5]])


def test_an_ignored_rim_hides_no_end():
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[8:22, 8:22, 8:22] = IGNORED
    labels[10:20, 10:20, 10:20] = 1
    np.testing.assert_array_equal(class_ends(labels, [(1,)], (5.0, 1.0, 2.0), IGNORED)[0], [[47.5, 97.5], [9.5, 19.5], [19, 39]])


def test_what_is_ignored_elsewhere_hides_no_end():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:11, 8:12, 8:12] = 1
    labels[11:, 14:], labels[12:] = IGNORED, IGNORED  # beside, and after a slice in which the class is not
    assert class_ends(labels, [(1,)], (1.0, 1.0, 1.0), IGNORED)[0, 0].tolist() == [4.5, 10.5]


def test_a_stray_voxel_in_an_ignored_part_is_no_end():
    labels = np.zeros((40, 12, 12), np.uint8)
    labels[10:30, 1:11, 1:11] = 1
    labels[30:] = IGNORED
    labels[30, 5, 5] = 1
    ends = class_ends(labels, [(1,)], (1.0, 1.0, 1.0), IGNORED)[0, 0]
    assert ends[0] == 9.5 and np.isnan(ends[1])


def test_ranges_hold_the_organs_of_bodies_that_were_not_learned_from_and_little_else(model):
    for image, labels in body_cases(4, seed=5):
        slices = body_slices(image, SPACING)
        ends = np.full((3, 3, 2), np.nan)
        boxes = model.boxes(model.references(model.image_says(slices), ends))
        true = class_ends(labels, ALL, SPACING)
        assert (boxes[..., 0] <= true[..., 0]).all() and (boxes[..., 1] >= true[..., 1]).all()
        assert (np.diff(boxes, axis=2)[:, 0, 0] < 2 * RADIUS + 120).all()


def test_sources_that_share_no_class_are_joined_by_the_looks_of_their_images():
    cases = list(body_cases(24))
    liver, bladder = ((1,), (), ()), ((), (2,), ())
    model, _ = learned(cases, [liver, bladder] * 12)
    middles = model.axes[0].positions.mean(1)
    assert middles[0] - middles[1] == pytest.approx(HEIGHTS[0] - HEIGHTS[1], abs=10)
    assert np.isnan(middles[2]) and model.cases == (12, 12, 0)


def test_structures_that_are_known_narrow_the_range(model):
    image, labels = made_up_body(40, 560, seed=50)
    says, ends = model.image_says(body_slices(image, SPACING)), class_ends(labels, ALL, SPACING)
    ends[0] = np.nan
    alone, joined = (model.references(says, known)[0] for known in (np.full_like(ends, np.nan), ends))
    assert joined.spread < alone.spread


def test_of_fewer_than_five_cases_nothing_is_said():
    cases = list(body_cases(8))
    model, _ = learned(cases, [((1,), (2,), ())] * 4 + [((1,), (), ())] * 4)
    boxes = model.boxes((Reference(0, 1),) * 3)
    assert np.isfinite(boxes[0]).all() and np.isinf(boxes[1:]).all()
    few, said = learned(cases[:4], [ALL] * 4)
    assert few.heights is None and np.isnan(said).all() and np.isinf(few.boxes((Reference(0, 1),) * 3)).all()


def test_of_an_image_unlike_those_that_were_learned_from_nothing_is_said(model):
    image = np.full((60, 28, 32), -1000, np.float32)
    image[:, 2:26, 2:30] = 700 * np.random.default_rng(0).random((60, 24, 28))  # as no CT of a body
    says = model.image_says(body_slices(image, SPACING))
    assert np.isnan(says[0])
    everything = model.image_says(None)
    assert np.isnan(everything).all()
    known = class_ends(made_up_body(40, 560, seed=1)[1], ALL, SPACING)
    assert model.references(everything, known) == (None, None, None)
    assert np.isinf(model.boxes((None, None, None))).all()


def test_of_half_a_body_the_middle_is_not_told(model):
    image, _ = made_up_body(40, 560, seed=2)
    assert np.isfinite(model.image_says(body_slices(image, SPACING))).all()
    half = model.image_says(body_slices(image[:, :, :12], SPACING))
    assert np.isnan(half[2])


def test_the_numbers_survive_as_json(model):
    again = PlaceModel.of_json(model.as_json())
    assert again.as_json() == model.as_json() and again.classes == tuple(ORGANS)
    slices = body_slices(made_up_body(40, 560, seed=3)[0], SPACING)
    np.testing.assert_array_equal(again.image_says(slices), model.image_says(slices))


# ---- one axis --------------------------------------------------------------------------------------------------------


def axis(**changes):
    parts = {"positions": [[-10, 10], [40, 60], [90, np.nan]], "spreads": [[3, 4], [4, 4], [4, np.nan]]}
    parts |= {"beyond": [[1, 2], [50, 3], [0, np.nan]], **changes}
    return AxisModel(**{name: np.array(value, float) for name, value in parts.items()}, image_spread=12.0)


def test_a_range_is_three_spreads_and_a_margin_wider_or_reaches_what_was_seen():
    ranges = axis().ranges(Reference(100, 3))
    assert ranges[0].tolist() == pytest.approx([90 - 3 * np.hypot(3, 3) - 10, 110 + 3 * 5 + 10])
    assert ranges[1].tolist() == [140 - 50 - 10, 160 + 3 * 5 + 10]
    assert ranges[2].tolist() == [190 - 3 * 5 - 10, np.inf]


def test_a_reference_is_the_weighted_median_of_what_image_and_structures_say():
    nothing = np.full((3, 2), np.nan)
    alone = axis().reference(100, nothing)
    assert alone.position == 100 and alone.spread == pytest.approx(1.25 * 12)
    # class 0 says 110 and 114 by its ends, class 1 says 300: a false structure; class 2 says 108
    ends = np.array([[100, 124], [340, 360], [198, np.nan]])
    found = axis().reference(100, ends)
    weights = np.array([12.0, 4.0, 4.0, 4.0]) ** -2
    assert found.position == 112 and found.spread == pytest.approx(1.25 * weights.sum() ** -0.5)


def test_contradicting_structures_say_nothing():
    assert axis().reference(np.nan, np.array([[90, 110], [440, 460], [np.nan, np.nan]])) is None
    assert axis().reference(np.nan, np.full((3, 2), np.nan)) is None


def test_what_is_learned_along_an_axis_is_what_was_put_in():
    random = np.random.default_rng(0)
    true = random.uniform(0, 300, 400)
    images = true + random.normal(0, 15, 400)
    at = np.array([[-30.0, 30.0], [50.0, 70.0]])
    by_class = random.normal(0, [6, 10], (400, 2))
    ends = true[:, None, None] + at + by_class[:, :, None]
    ends[:50, 1] = np.nan  # not annotated there
    found = learn_axis(images, ends)
    np.testing.assert_allclose(found.positions, at, atol=3)
    np.testing.assert_allclose(found.spreads, [[6, 6], [10, 10]], atol=2)
    assert found.image_spread == pytest.approx(15, rel=0.15)


def test_an_end_that_the_image_often_cuts_is_not_known():
    ends = np.tile([[0.0, 20.0]], (20, 1, 1)) + np.arange(20.0)[:, None, None]
    ends[:8, 0, 1] = np.nan
    found = learn_axis(np.arange(20.0), ends)
    assert np.isfinite(found.positions[0]).tolist() == [True, False]
