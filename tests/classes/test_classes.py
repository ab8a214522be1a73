"""The class table and what a class name says."""

import pytest

from nnunetv2_cdpd.classes import CLASS_TABLE, lateral_pairs, name_key, name_words, side_of, structure, without_side


def test_table_refers_only_to_its_own_names_and_has_no_cycle():
    names = {entry.name for entry in CLASS_TABLE}
    assert len(names) == len(CLASS_TABLE) == len({name_key(name) for name in names})
    for entry in CLASS_TABLE:
        # TotalSegmentator labels whole femurs, which are no class of the table
        assert {*entry.parents, *entry.compatible} - {"left_femur", "right_femur"} <= names
        assert all(not structure(parent).parents for parent in entry.parents)


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
    assert without_side("Lung_R") == ("lung",)


def test_scope_of_a_class_says_no_side():
    assert side_of("pancreas@L") is None
    assert side_of("left_kidney@R") == "left"
    assert lateral_pairs(["left_kidney@R", "right_kidney@R", "right_kidney@L", "pancreas@L"]) == [
        ("left_kidney@R", "right_kidney@R")
    ]
