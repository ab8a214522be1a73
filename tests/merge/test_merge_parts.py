"""Parts of a structure: where one source labels a part and another the whole, neither is taught to exclude the other."""

import pytest
from builders.merge_plan import dataset, plan_of, state

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED


def told(part, whole):
    """What a source of a part says of the whole at its voxels, one of the whole of the part at its own, and the notes."""
    plan = plan_of(dataset("Dataset1_P", {part: 1}), dataset("Dataset2_W", {whole: 1}))
    of_part, of_whole = (plan.value_maps[number][1] for number in (0, 1))
    part, whole = (plan.naming.targets[number][name] for number, name in enumerate((part, whole)))
    return state(plan, "P", of_part, whole), state(plan, "W", of_whole, part), plan.notes


@pytest.mark.parametrize(
    "part, whole",
    [
        ("lung_upper_lobe_left", "left_lung"),
        ("LUL", "lung"),
        ("lung_middle_lobe_right", "Lungs"),
        ("pancreas_head", "pancreas"),
        ("liver_segment_4", "liver"),
        ("portal_vein", "portal_vein_and_splenic_vein"),
        ("colon", "large_bowel"),
        ("colon_tumor", "large_bowel"),  # lies in the colon, which is no class here
        ("ascending_aorta", "aorta"),
        ("vertebrae_L1", "lumbar_vertebrae"),
        ("vertebrae_T12", "vertebrae"),
        ("C2", "spine"),
        ("rib_left_3", "ribs"),
        ("left_kidney_tumor", "left_kidney"),
        ("eye_lens_left", "eye_left"),
    ],
)
def test_a_part_is_the_whole_too(part, whole):
    about_whole, about_part, _ = told(part, whole)
    assert (about_whole, about_part) == (POSITIVE, UNSUPERVISED)


@pytest.mark.parametrize(
    "one, other",
    [
        ("brainstem", "brain"),
        ("sigmoid_colon", "colon"),
        ("Sigmoid", "large_bowel"),
        ("pancreatic_duct", "pancreas"),
        ("anal_canal", "rectum"),
        ("seminal_vesicle", "prostate"),
        ("bowel_bag", "intestine"),
        ("sacrum", "spine"),
        ("Body", "liver"),
        ("GTV", "liver"),
        ("SpinalCanal", "spinal_cord"),
        ("cerebellum", "brain"),
        ("lung_upper_lobe_left", "lung_tumor"),
    ],
)
def test_what_one_dataset_counts_to_an_organ_and_another_does_not_is_held_against_neither(one, other):
    assert told(one, other)[:2] == (UNSUPERVISED, UNSUPERVISED)


def test_a_side_is_no_part_of_the_other_side():
    assert told("lung_upper_lobe_left", "right_lung")[:2] == (NEGATIVE, NEGATIVE)
    assert told("left_kidney_tumor", "right_kidney")[:2] == (NEGATIVE, NEGATIVE)


def test_a_name_that_says_a_part_of_a_class_is_told_where_nothing_relates_the_two():
    *_, notes = told("liver_vessels_outer", "liver")
    (note,) = (note for note in notes if "exclude each other" in note)
    assert note.startswith("liver_vessels_outer and liver exclude each other, as no table knows better")
    assert "`nested: {liver_vessels_outer: liver}`" in note and "`compatible: [[liver_vessels_outer, liver]]`" in note


@pytest.mark.parametrize("parents", [["left_kidney", "right_kidney"], None])
def test_what_the_yaml_says_of_a_part_is_not_told_again(parents):
    inputs = (dataset("Dataset1_P", {"kidney cortex": 1}), dataset("Dataset2_W", {"left_kidney": 1, "right_kidney": 2}))
    (note,) = (note for note in plan_of(*inputs).notes if "exclude each other" in note)
    assert "`nested: {kidney cortex: [left_kidney, right_kidney]}`" in note
    assert not any("exclude each other" in note for note in plan_of(*inputs, nested={"kidney cortex": parents}).notes)


def test_classes_of_one_source_that_labels_both_are_not_told():
    plan = plan_of(dataset("Dataset1_P", {"kidney cortex": 1, "kidney": 2}))
    assert not any("exclude each other" in note for note in plan.notes)


def test_many_parts_of_a_whole_are_told_in_one_line():
    parts = {f"vertebrae_L{number}": number for number in range(1, 6)}
    plan = plan_of(dataset("Dataset1_P", {**parts, "portal_vein": 6}), dataset("Dataset2_W", {"spine": 1, "liver": 2}))
    (note,) = [note for note in plan.notes if "lie in" in note]
    assert note == (
        "vertebrae_L1, vertebrae_L2, vertebrae_L3 and 2 more lie in spine, by default; `nested: {vertebrae_L1: null}` in the "
        "YAML undoes it for one"
    )
    assert all(plan.nesting.certain[name] == {"spine"} for name in parts)
