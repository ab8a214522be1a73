"""The clean-up's rules, one by one, on label maps whose every voxel can be counted; anisotropic, every axis of another length."""

import numpy as np
import pytest

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.classes import CLASS_TABLE
from nnunetv2_cdpd.cleanup import clean_label_map
from nnunetv2_cdpd.cleanup.clean import nesting_in_table, nesting_of
from nnunetv2_cdpd.cleanup.rules import RULES, description_of
from nnunetv2_cdpd.cleanup.table import INSIDE_ORGAN, ONE_PIECE
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.predicted import ImagePlace
from nnunetv2_cdpd.place.references import AxisModel

SHAPE = (16, 24, 32)
SPACING = (3.0, 1.5, 1.0)  # mm, array order
CLASSES = {
    "liver": 1, "liver_tumor": 2, "right_kidney": 3, "left_kidney": 4, "kidney_tumor": 5, "right_lung": 6, "left_lung": 7,
    "lung_tumor": 8, "pancreas": 9, "pancreas_tumor": 10, "portal_vein_and_splenic_vein": 11, "spleen": 12, "hepatic_vessel": 13,
}  # fmt: skip


def label_map(**boxes):
    """Boxes by class name, painted in the order given; a trailing number tells two boxes of one class apart."""
    array = np.zeros(SHAPE, np.uint8)
    for name, box in boxes.items():
        array[box] = CLASSES[name.rstrip("0123456789")]
    return array


def clean(array, *rules, **options):
    before = array.copy()
    cleaned, effects = clean_label_map(array, SPACING, CLASSES, rules or None, **options)
    assert np.array_equal(array, before) and cleaned.dtype == array.dtype and cleaned.shape == array.shape
    changed = sum(sum(counts.values()) for classes in effects.values() for counts in classes.values())
    assert changed >= (cleaned != array).sum()
    return cleaned, {name: classes for name, classes in effects.items() if classes}


LIVER = np.s_[2:10, 3:15, 3:15]


# ---- largest ------------------------------------------------------------------------------------------------------------


def test_an_organ_keeps_its_largest_component_and_what_touches_it_by_a_corner():
    array = label_map(liver=LIVER, liver2=np.s_[10:11, 15:16, 15:16], liver3=np.s_[13:15, 20:23, 28:31])
    cleaned, effects = clean(array, "largest")
    assert (cleaned[13:15] == 0).all() and cleaned[10, 15, 15] == CLASSES["liver"]
    assert effects == {"largest": {"liver": {"removed": 2 * 3 * 3, "moved": 0}}}


def test_a_piece_behind_a_tumor_belongs_to_its_organ():
    array = label_map(right_kidney=np.s_[2:6, 2:6, 2:6], kidney_tumor=np.s_[6:8, 2:6, 2:6], right_kidney2=np.s_[8:10, 2:6, 2:6])
    assert np.array_equal(clean(array, "largest")[0], array)


def test_the_largest_component_is_that_with_most_of_the_organ_not_of_its_tumor():
    false_tumor = np.s_[1:15, 18:24, 20:32]
    array = label_map(liver=np.s_[2:6, 2:8, 2:8], liver_tumor=false_tumor, liver2=np.s_[0:1, 20:22, 24:26])
    cleaned, effects = clean(array, "largest")
    assert effects == {"largest": {"liver": {"removed": 4, "moved": 0}}}
    assert (cleaned[2:6, 2:8, 2:8] == CLASSES["liver"]).all() and (cleaned[false_tumor] == CLASSES["liver_tumor"]).all()


def test_a_removed_piece_takes_the_class_around_it():
    array = label_map(liver=LIVER, spleen=np.s_[2:8, 16:22, 20:30], spleen2=np.s_[4:6, 6:8, 6:8])
    cleaned, effects = clean(array, "largest")
    assert (cleaned[LIVER] == CLASSES["liver"]).all()
    assert effects["largest"]["spleen"] == {"removed": 0, "moved": 8}


def test_what_lies_around_a_removed_piece_counts_beyond_the_box_of_its_class_too():
    array = label_map(spleen=np.s_[2:8, 2:8, 2:8], liver=np.s_[10:13, 9:12, 9:12], spleen2=np.s_[10:11, 10:11, 10:11])
    cleaned, effects = clean(array, "largest")
    assert cleaned[10, 10, 10] == CLASSES["liver"] and effects["largest"]["spleen"] == {"removed": 0, "moved": 1}


def test_vessels_and_tumors_may_have_many_pieces():
    array = label_map(
        liver=LIVER, hepatic_vessel=np.s_[3:4, 4:5, 4:5], hepatic_vessel2=np.s_[7:8, 9:10, 9:10],
        liver_tumor=np.s_[5:6, 12:13, 5:6], liver_tumor2=np.s_[8:9, 4:5, 12:13],
    )  # fmt: skip
    assert clean(array)[1] == {}


# ---- sides --------------------------------------------------------------------------------------------------------------

RIGHT, LEFT = np.s_[3:9, 4:12, 2:10], np.s_[3:9, 4:12, 20:28]


def test_a_piece_of_the_other_side_within_an_organ_changes_side():
    array = label_map(right_kidney=RIGHT, left_kidney=LEFT, left_kidney2=np.s_[5:7, 4:8, 2:5])
    cleaned, effects = clean(array, "sides")
    assert np.array_equal(cleaned, label_map(right_kidney=RIGHT, left_kidney=LEFT))
    assert effects == {"sides": {"left_kidney": {"removed": 0, "moved": 2 * 4 * 3}}}


def test_two_organs_that_touch_keep_their_border():
    array = label_map(right_kidney=np.s_[3:9, 4:12, 2:10], left_kidney=np.s_[3:9, 4:12, 10:28])
    assert np.array_equal(clean(array, "sides")[0], array)


def test_a_piece_behind_a_tumor_keeps_its_side_where_it_touches_the_other_organ():
    array = label_map(
        right_lung=np.s_[3:9, 4:12, 2:10], left_lung=np.s_[3:9, 4:12, 10:28], lung_tumor=np.s_[3:9, 4:12, 13:15],
    )  # fmt: skip
    assert np.array_equal(clean(array, "sides")[0], array)


def test_a_piece_that_a_tumor_parts_from_the_other_organ_changes_side():
    boxes = {"right_kidney": np.s_[3:9, 4:12, 2:8], "kidney_tumor": np.s_[3:9, 4:12, 8:10], "left_kidney": LEFT}
    cleaned, effects = clean(label_map(**boxes, left_kidney2=np.s_[3:9, 4:12, 10:12]), "sides")
    assert np.array_equal(cleaned, label_map(**boxes, right_kidney2=np.s_[3:9, 4:12, 10:12]))
    assert effects == {"sides": {"left_kidney": {"removed": 0, "moved": 6 * 8 * 2}}}


def test_sides_work_for_any_pair_of_names():
    array = np.zeros(SHAPE, np.int32)
    array[RIGHT], array[LEFT], array[4:6, 4:6, 25:28] = 400, 500, 400
    cleaned, effects = clean_label_map(array, SPACING, {"Femur R": 400, "Femur L": 500}, ["sides"])
    assert (cleaned[LEFT] == 500).all() and effects["sides"]["Femur R"]["moved"] == 12


# ---- lungs --------------------------------------------------------------------------------------------------------------


def test_each_lung_gets_one_side_and_the_rest_goes():
    array = label_map(
        right_lung=RIGHT, left_lung=LEFT, left_lung2=np.s_[3:5, 4:12, 2:10], right_lung2=np.s_[7:8, 4:12, 20:22],
        lung_tumor=np.s_[4:6, 6:8, 22:24], left_lung3=np.s_[14:15, 22:23, 0:3],
    )  # fmt: skip
    cleaned, effects = clean(array, "lungs")
    assert np.array_equal(cleaned, label_map(right_lung=RIGHT, left_lung=LEFT, lung_tumor=np.s_[4:6, 6:8, 22:24]))
    assert effects["lungs"] == {"left_lung": {"removed": 3, "moved": 2 * 8 * 8}, "right_lung": {"removed": 0, "moved": 8 * 2}}


@pytest.mark.parametrize("axes, left_is_last", [("SPL", True), ("SPR", False), ("IAL", True)])
def test_two_lungs_of_the_same_label_are_told_apart_by_their_place(axes, left_is_last):
    both_right = label_map(right_lung=RIGHT, right_lung2=LEFT)
    cleaned, _ = clean(both_right, "lungs", axes=axes)
    values = [int(cleaned[box][0, 0, 0]) for box in (RIGHT, LEFT)]
    assert values == ([6, 7] if left_is_last else [7, 6])
    clean(both_right, "lungs")  # without axes one of them is the left one, whichever


def test_lungs_that_touch_keep_their_labels():
    array = label_map(right_lung=np.s_[3:9, 4:12, 2:14], left_lung=np.s_[3:9, 4:12, 14:28], left_lung2=np.s_[14:15, 22:23, 0:3])
    cleaned, effects = clean(array, "lungs")
    assert effects["lungs"] == {"left_lung": {"removed": 3, "moved": 0}}
    assert np.array_equal(cleaned, label_map(right_lung=np.s_[3:9, 4:12, 2:14], left_lung=np.s_[3:9, 4:12, 14:28]))


def test_a_single_lung_stays():
    assert clean(label_map(left_lung=LEFT), "lungs")[1] == {}


# ---- portal vein --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes, kept", [("SPL", slice(4, 12)), ("IPL", slice(2, 9))])
def test_the_portal_vein_ends_at_the_lowest_slice_of_the_pancreas(axes, kept):
    array = label_map(pancreas=np.s_[4:9, 3:6, 5:9], portal_vein_and_splenic_vein=np.s_[2:12, 10:12, 5:8])
    cleaned, effects = clean(array, "portal_vein", axes=axes)
    vein = kept, slice(10, 12), slice(5, 8)
    assert np.array_equal(cleaned, label_map(pancreas=np.s_[4:9, 3:6, 5:9], portal_vein_and_splenic_vein=vein))
    assert effects["portal_vein"]["portal_vein_and_splenic_vein"]["moved"] == 0
    assert clean(array, "portal_vein")[1] == {}  # nothing known of the axes


@pytest.mark.parametrize("axes, lowest", [("SPL", np.s_[3:5, 3:6, 5:9]), ("IPL", np.s_[8:10, 3:6, 5:9])])
def test_what_lies_in_the_pancreas_is_pancreas_for_the_portal_vein(axes, lowest):
    """Its lowest slices are all tumor; plain labels, which nest by the class table."""
    array = label_map(pancreas=np.s_[4:9, 3:6, 5:9], pancreas_tumor=lowest, portal_vein_and_splenic_vein=np.s_[3:10, 10:12, 5:8])
    assert clean(array, "portal_vein", axes=axes)[1] == {}


def test_a_head_of_the_pancreas_is_pancreas_for_the_portal_vein_where_the_dataset_says_so():
    array = np.zeros(SHAPE, np.uint8)
    array[5:9, 3:6, 5:9], array[3:5, 3:6, 5:9], array[2:12, 10:12, 5:8] = 1, 2, 3
    classes = {"pancreas": 1, "pancreas_head": 2, "portal_vein_and_splenic_vein": 3}
    cleaned, _ = clean_label_map(array, SPACING, classes, ["portal_vein"], parents={"pancreas_head": ("pancreas",)}, axes="SPL")
    assert np.flatnonzero((cleaned == 3).any((1, 2))).tolist() == list(range(3, 12))


def test_a_false_tumor_of_the_pancreas_does_not_lengthen_the_portal_vein():
    array = label_map(
        pancreas=np.s_[8:12, 3:6, 5:9],
        pancreas_tumor=np.s_[0:1, 20:22, 28:30],
        portal_vein_and_splenic_vein=np.s_[1:12, 10:12, 5:8],
    )
    cleaned, _ = clean(array, axes="SPL")
    vein = np.s_[8:12, 10:12, 5:8]
    assert np.array_equal(cleaned, label_map(pancreas=np.s_[8:12, 3:6, 5:9], portal_vein_and_splenic_vein=vein))
    assert np.array_equal(clean(cleaned, axes="SPL")[0], cleaned)


def test_without_pancreas_the_portal_vein_stays():
    assert clean(label_map(portal_vein_and_splenic_vein=np.s_[2:12, 10:12, 5:8]), "portal_vein", axes="SPL")[1] == {}


# ---- tumors -------------------------------------------------------------------------------------------------------------


def test_a_liver_tumor_stays_in_the_liver_and_3_mm_around():
    # the liver ends before 15 on the last two axes; 3 mm are 2 voxels of the second and 3 of the last
    array = label_map(liver=LIVER, liver_tumor=np.s_[4:6, 5:7, 16:22], liver_tumor2=np.s_[4:6, 18:20, 5:7])
    cleaned, effects = clean(array, "tumors_in_organ")
    tumor = np.argwhere(cleaned == CLASSES["liver_tumor"])
    assert tumor.min(0).tolist() == [4, 5, 16] and tumor.max(0).tolist() == [5, 6, 17]
    assert effects["tumors_in_organ"]["liver_tumor"] == {"removed": 2 * 2 * 4 + 8, "moved": 0}


def test_a_tumor_that_touches_its_organ_is_not_cut():
    array = label_map(liver=LIVER, liver_tumor=np.s_[4:6, 5:7, 12:31])
    assert clean(array, "tumors_in_organ")[1] == {}


def test_a_kidney_tumor_may_lie_in_either_kidney_and_in_no_third_place():
    array = label_map(
        right_kidney=RIGHT, left_kidney=LEFT, kidney_tumor=np.s_[4:6, 5:7, 3:5], kidney_tumor2=np.s_[4:6, 5:7, 24:26],
        right_kidney2=np.s_[13:15, 18:20, 14:16], kidney_tumor3=np.s_[13:15, 20:22, 14:16],
    )  # fmt: skip
    cleaned, effects = clean(array, "tumors_in_organ")
    assert effects["tumors_in_organ"] == {"kidney_tumor": {"removed": 8, "moved": 0}}
    assert all((cleaned[4:6, 5:7, columns] == CLASSES["kidney_tumor"]).all() for columns in (slice(3, 5), slice(24, 26)))


@pytest.mark.parametrize("kind", ["kidney_tumor", "kidney_cyst"])
@pytest.mark.parametrize("nested", [{}, {"parents": {"kidney_tumor": ("kidney",), "kidney_cyst": ("kidney",)}}])
def test_kidneys_of_one_class_are_two_organs(kind, nested):
    array = np.zeros((16, 24, 32), np.uint8)
    array[RIGHT] = array[LEFT] = array[14:15, 1:3, 1:3] = 1
    array[4:6, 5:7, 3:5] = array[4:6, 5:7, 24:26] = array[14:15, 3:4, 1:3] = 2
    cleaned, effects = clean_label_map(array, (1, 1, 1), {"kidney": 1, kind: 2}, ["tumors_in_organ", "tumors_at_organ"], **nested)
    assert sum(its.get(kind, {}).get("removed", 0) for its in effects.values()) == 2
    assert np.array_equal(np.argwhere(cleaned == 2), np.argwhere((array == 2) & (np.arange(16) < 14)[:, None, None]))


def test_a_tumor_of_a_kidney_that_is_no_class_stays():
    array = np.zeros((16, 24, 32), np.uint8)
    array[LEFT], array[4:6, 5:7, 3:5] = 1, 2
    cleaned, _ = clean_label_map(array, (1, 1, 1), {"left_kidney": 1, "kidney_tumor": 2})
    assert np.array_equal(cleaned, array)


def test_a_tumor_lies_in_its_organ_over_all_levels_of_the_table():
    assert nesting_in_table({"large_bowel": 1, "colon_cancer": 2}) == {"colon_cancer": ("large_bowel",)}
    assert nesting_in_table({"breast_left": 1, "breast metastasis": 2}) == {}


def test_a_false_tumor_in_another_organ_leaves_no_hole():
    array = label_map(liver=LIVER, spleen=np.s_[2:8, 16:24, 20:32], liver_tumor=np.s_[4:6, 19:21, 25:28])
    cleaned, effects = clean(array, "tumors_in_organ")
    assert (cleaned[2:8, 16:24, 20:32] == CLASSES["spleen"]).all()
    assert effects["tumors_in_organ"]["liver_tumor"] == {"removed": 0, "moved": 2 * 2 * 3}


def test_another_tumor_stays_whole_or_goes_whole():
    large = np.s_[4:10, 6:16, 8:20]
    array = label_map(pancreas=np.s_[4:6, 6:8, 4:8], pancreas_tumor=large, pancreas_tumor2=np.s_[13:15, 20:22, 28:30])
    cleaned, effects = clean(array, "tumors_at_organ")
    assert (cleaned[large] == CLASSES["pancreas_tumor"]).all()
    assert effects["tumors_at_organ"] == {"pancreas_tumor": {"removed": 8, "moved": 0}}


def test_a_tumor_without_its_organ_in_the_volume_stays():
    assert clean(label_map(liver_tumor=np.s_[4:6, 5:7, 16:22], lung_tumor=np.s_[8:9, 1:2, 1:2]))[1] == {}


# ---- the function -------------------------------------------------------------------------------------------------------


def test_all_rules_run_in_order_and_each_tells_its_effect():
    array = label_map(
        right_kidney=RIGHT, left_kidney=LEFT, left_kidney2=np.s_[5:7, 4:8, 2:5], left_kidney3=np.s_[14:15, 1:3, 1:3],
        kidney_tumor=np.s_[12:13, 20:22, 15:17],
    )  # fmt: skip
    cleaned, effects = clean_label_map(array, SPACING, CLASSES)
    assert list(effects) == list(RULES)
    # the piece in the right kidney has changed side before the largest component is kept
    assert effects["sides"]["left_kidney"]["moved"] == 24 and effects["largest"]["left_kidney"]["removed"] == 4
    assert effects["tumors_in_organ"]["kidney_tumor"]["removed"] == 4
    assert np.array_equal(cleaned, label_map(right_kidney=RIGHT, left_kidney=LEFT))
    assert np.array_equal(clean_label_map(cleaned, SPACING, CLASSES)[0], cleaned)


def test_an_empty_label_map_stays_empty():
    assert clean(np.zeros(SHAPE, np.uint8), axes="SPL")[1] == {}


def test_a_dataset_s_own_nesting_wins():
    annotation = read_annotation(
        {"labels": {"background": 0, "liver": [1, 2], "lesion": 2, "kidney_tumor": 3, "left_kidney": 4},
         "regions_class_order": [1, 2, 3, 4]}
    )  # fmt: skip
    assert nesting_of(annotation) == {"lesion": ("liver",), "kidney_tumor": ("left_kidney",)}
    assert nesting_in_table({"Kidney Tumor": 1, "LEFT kidney": 2, "spleen": 3}) == {"Kidney Tumor": ("LEFT kidney",)}
    array = np.zeros(SHAPE, np.uint8)
    array[LIVER], array[12:14, 20:22, 28:30] = 1, 2
    classes = dict(zip(annotation.classes, annotation.values))
    assert (clean_label_map(array, SPACING, classes)[0] == 2).any()
    assert not (clean_label_map(array, SPACING, classes, parents=nesting_of(annotation))[0] == 2).any()


def test_nesting_may_name_tumors_that_the_label_map_lacks():
    """A task's classes: the organs of a model, without the tumors of its other sources."""
    array = label_map(liver=LIVER)
    parents = {"liver_tumor": ("liver",), "kidney_tumor": ("right_kidney", "left_kidney")}
    cleaned, _ = clean_label_map(array, SPACING, {"liver": CLASSES["liver"]}, parents=parents)
    assert np.array_equal(cleaned, array)


def test_the_tables_speak_of_structures_of_the_class_table_and_every_rule_of_itself():
    known = {structure.name for structure in CLASS_TABLE}
    assert known.issuperset(ONE_PIECE) and known.issuperset(INSIDE_ORGAN) and len(ONE_PIECE) == len(set(ONE_PIECE)) == 22
    assert all(description_of(rule).endswith(".") for rule in RULES)


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        ((np.zeros((4, 5), int), (1, 1), {"liver": 1}), {}, ValueError, r"three axes is cleaned, not one of shape \(4, 5\)"),
        ((np.zeros((4, 5, 6), int), (1, 1, 1), {"liver": 1}), {"rules": ["tidy"]}, UserError, "no clean-up rule tidy; .*lungs"),
        ((np.zeros((4, 5, 6), int), (1, 1, 1), {"liver": 1}), {"axes": "SPP"}, ValueError, "axes 'SPP': one letter of each"),
    ],
)
def test_what_cannot_be_cleaned_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        clean_label_map(*arguments, **options)


def test_structures_are_known_by_other_names_of_theirs():
    classes = {"Lebertumor": 1, "hepatic_tumour": 2, "LIVER": 3, "renal_cyst": 4, "kidney_l": 5}
    assert nesting_in_table(classes) == {"hepatic_tumour": ("LIVER",), "renal_cyst": ("kidney_l",)}
    array = np.zeros(SHAPE, np.uint8)
    array[2:6, 2:6, 2:6], array[12, 20, 20] = 5, 5
    cleaned, effects = clean_label_map(array, SPACING, classes, ["largest"])
    assert cleaned.sum() == 64 * 5 and effects["largest"]["kidney_l"]["removed"] == 1


# ---- place -------------------------------------------------------------------------------------------------------------


def place_of(shape, ends, image_spread=5.0, classes=("liver", "spleen")):
    """Where two classes lie along the first axis of an array in 1 mm, mm from the middle of the image's reference point."""
    known = AxisModel(np.array(ends, float), np.full((2, 2), 3.0), np.zeros((2, 2)), image_spread)
    unknown = AxisModel(*(np.full((2, 2), np.nan) for _ in range(3)), image_spread=np.nan)
    model = PlaceModel(classes, (9, 9), None, np.zeros((2, 2)), (known, unknown, unknown))
    axes = BodyAxes((0, 1, 2), (True, False, False), (1.0, 1.0, 1.0), shape)  # the array runs from head to feet
    return ImagePlace(model, axes, np.array([50.0, np.nan, np.nan]))


def test_place_takes_components_that_lie_wholly_where_their_class_cannot():
    label_map = np.zeros((100, 6, 6), np.uint8)
    label_map[40:60, 1:3, 1:3] = 1  # the liver, in the middle; mm 39.5 to 59.5 from the feet
    label_map[2:5, 1:3, 1:3] = 1  # in the neck
    label_map[6:7, 4:6, 4:6] = 2
    label_map[70:90, 4:6, 4:6] = 2  # the spleen, mm 9.5 to 29.5
    place = place_of(label_map.shape, [[-10, 10], [-40, -20]])
    cleaned, effects = clean_label_map(label_map, (1.0,) * 3, {"liver": 1, "spleen": 2}, ["place"], place=place)
    assert effects["place"] == {"liver": {"removed": 12, "moved": 0}, "spleen": {"removed": 4, "moved": 0}}
    expected = np.zeros_like(label_map)
    expected[40:60, 1:3, 1:3], expected[70:90, 4:6, 4:6] = 1, 2
    np.testing.assert_array_equal(cleaned, expected)


def test_place_leaves_a_component_that_reaches_into_the_range():
    label_map = np.zeros((100, 6, 6), np.uint8)
    # upper end of the range: 50 + 10 + 3 * hypot(3, 1.25 * 5) + 10 = 90.8 mm from the feet, which slice 9 from the head is below
    label_map[40:60, 1:3, 1:3] = 1
    label_map[2:10, 4:6, 4:6] = 1
    place = place_of(label_map.shape, [[-10, 10], [-40, -20]])
    np.testing.assert_array_equal(clean_label_map(label_map, (1.0,) * 3, {"liver": 1}, ["place"], place=place)[0], label_map)
    label_map[9, 4:6, 4:6] = 0
    assert clean_label_map(label_map, (1.0,) * 3, {"liver": 1}, ["place"], place=place)[1]["place"] == {
        "liver": {"removed": 28, "moved": 0}
    }


def test_place_does_nothing_where_nothing_is_known():
    label_map = np.zeros((100, 6, 6), np.uint8)
    label_map[0, 0, 0] = 1
    assert clean_label_map(label_map, (1.0,) * 3, {"liver": 1}, ["place"])[1] == {"place": {}}


def test_kidneys_of_one_class_are_two_organs_for_the_place_of_others():
    label_map = np.zeros((300, 6, 6), np.uint8)
    label_map[20:120, 1:3, 1:3] = label_map[200:280, 1:3, 1:3] = 2  # mm 19.5 to 279.5 from the feet, both together
    label_map[270:280, 4:6, 4:6] = 1  # where it lies by both, and 80 mm too low by the larger one
    place = place_of(label_map.shape, [[-130, -120], [-130, 130]], np.nan, ("liver", "kidney"))
    cleaned, _ = clean_label_map(label_map, (1.0,) * 3, {"liver": 1, "kidney": 2}, ["place"], place=place)
    np.testing.assert_array_equal(cleaned, label_map)
    label_map[200:280, 1:3, 1:3] = 0
    assert not (clean_label_map(label_map, (1.0,) * 3, {"liver": 1, "kidney": 2}, ["place"], place=place)[0] == 1).any()
