"""The class table and what a class name says."""

import pytest

from nnunetv2_cdpd.classes import (
    ANY,
    CLASS_TABLE,
    OTHER_STRUCTURES,
    canonical_name,
    lateral_pairs,
    lies_in_by_name,
    name_key,
    name_words,
    outer_keys,
    side_of,
    structure,
)

WHOLES = {"ribs_left", "ribs_right", "spine", "pelvis"}  # of which nothing else is to say


def outside(name):
    """All structures that one lies in or may lie in, by the table."""
    parents = structure(name).parents
    return {*parents}.union(*map(outside, parents))


def test_table_refers_only_to_its_own_names_and_has_no_cycle():
    entries = (*CLASS_TABLE, *OTHER_STRUCTURES)
    names = {entry.name for entry in entries}
    assert len(names) == len(entries) == len({name_key(name) for name in names})
    for entry in entries:
        others = {*entry.parents, *entry.compatible} - {ANY} - WHOLES
        assert {name for name in others if canonical_name(name) != name} == set()
        assert entry.name not in outside(entry.name) and not outside(entry.name) & {*entry.compatible}


@pytest.mark.parametrize(
    "name, parents",
    [
        ("LUL", ("left_lung",)),
        ("lung_upper_lobe", ("right_lung", "left_lung")),
        ("lung_middle_lobe_right", ("right_lung",)),
        ("left renal cyst", ("left_kidney",)),
        ("right_kidney_tumor", ("right_kidney",)),
        ("kidney_tumor", ("right_kidney", "left_kidney")),
        ("rib_L3", ("ribs_left",)),
        ("eye_lens_right", ("eye_right",)),
        ("left_liver", ()),
    ],
)
def test_one_side_lies_in_what_is_of_its_side(name, parents):
    assert structure(name).parents == parents


@pytest.mark.parametrize("name", ["right_kidney", "Right Kidney", "RIGHT-KIDNEY", "rightKidney"])
def test_spellings_of_one_name_are_one_class(name):
    assert structure(name).name == "right_kidney"


def test_name_outside_the_table_is_a_plain_structure():
    entry = structure("My Gland")
    assert (entry.name, entry.parents, entry.compatible) == ("My Gland", (), ())


@pytest.mark.parametrize(
    "name, expected, side",
    [
        ("RightParotid", ("right", "parotid"), "right"),
        ("parotid_R", ("parotid", "r"), "right"),
        ("LKidney", ("l", "kidney"), "left"),
        ("lt kidney", ("lt", "kidney"), "left"),
        ("lung_left_2", ("lung", "left", "2"), "left"),
        ("vertebra_L1", ("vertebra", "l1"), None),
        ("ribL1", ("rib", "l1"), "left"),
        ("lkid", ("lkid",), "left"),
        ("RAG", ("rag",), "right"),
        ("kidneyleft", ("kidneyleft",), "left"),
        ("T12", ("t12",), None),
        ("CTV2", ("ctv", "2"), None),
        ("vésicule", ("vesicule",), None),
        ("right_and_left_lung", ("right", "and", "left", "lung"), None),
        ("liver", ("liver",), None),
        ("", (), None),
    ],
)
def test_words_and_side(name, expected, side):
    assert name_words(name) == expected
    assert side_of(name) == side


def test_lateral_pairs_differ_in_side_only():
    names = ["right_kidney", "LeftKidney", "left_lung", "spleen", "lung_R", "left_eye", "vertebra_L1"]
    assert lateral_pairs(names) == [("LeftKidney", "right_kidney"), ("left_lung", "lung_R")]
    assert lateral_pairs(["lkid", "rkid", "LUL", "lung_upper_lobe_right", "rib_L1", "rib_right_1", "rib_right_2"]) == [
        ("lkid", "rkid"),
        ("LUL", "lung_upper_lobe_right"),
        ("rib_L1", "rib_right_1"),
    ]


def test_scope_of_a_class_says_no_side():
    assert side_of("pancreas@L") is None
    assert side_of("left_kidney@R") == "left"
    assert lateral_pairs(["left_kidney@R", "right_kidney@R", "right_kidney@L", "pancreas@L"]) == [
        ("left_kidney@R", "right_kidney@R")
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("liver_tumor", [("liver", None)]),
        ("hepatic vessel@MSD", [("liver", None)]),
        ("Renal cyst", [("kidney", "right"), ("kidney", "left")]),
        ("left kidney cyst", [("kidney", "left")]),
        ("Left lung nodule", [("lung", "left")]),  # of no table, but for the name of its organ
        ("adrenal_nodule", [("adrenalgland", None)]),
        ("left_head_of_femur", [("femur", "left")]),
        ("cancer", []),
        ("left_kidney", []),
    ],
)
def test_what_a_class_lies_in_is_of_its_side(name, expected):
    assert [(key.base, key.side) for key in outer_keys(name)] == expected


@pytest.mark.parametrize(
    ("name", "outer", "expected"),
    [
        ("liver_tumor@LiTS", "liver", True),
        ("colon cancer", "large_bowel", True),  # over the colon
        ("left kidney cyst", "kidneys", True),  # over the left kidney
        ("left kidney cyst", "right_kidney", False),
        ("left_kidney", "kidney", True),
        ("kidney", "left_kidney", False),
        ("Renal cyst", "left_kidney", None),
        ("Renal cyst", "kidney", True),
        ("adrenal_nodule", "left_adrenal_gland", None),
        ("adrenal_nodule", "adrenal gland", True),
        ("lung_lower_lobe", "left_lung", None),
        ("lung_lower_lobe_left", "lung", True),
        ("eye_lens", "eyes", True),
        ("cancer", "liver", False),
        ("liver metastases", "liver", True),
        ("breast metastasis", "breast_left", False),  # lies elsewhere
        ("liver", "liver", False),
    ],
)
def test_a_class_lies_in_another_over_all_levels_of_the_table(name, outer, expected):
    assert lies_in_by_name(name, outer) is expected
