"""Classes scoped to a source, `pancreas@MSD`: kept apart from the same class of others, and never held against it."""

import json
import re

import pytest
from builders.merge import make_dataset, merge, read
from builders.merge_plan import dataset, plan_of, state

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED, read_annotation
from nnunetv2_cdpd.classes import compatible_pairs, lateral_pairs, structure
from nnunetv2_cdpd.errors import UserError

MSD = dataset("Dataset307_MSD", {"pancreas": [1, 2], "pancreas_tumor": 2}, [1, 2])
BTCV = dataset("Dataset303_BTCV", {"Pancreas": 1, "liver": 2, "duodenum": 3})
WORD = dataset("Dataset308_WORD", {"pancreas": 1, "intestine": 2})


def test_scoped_class_is_one_of_its_own():
    plan = plan_of(BTCV, MSD, scoped={"pancreas": ["MSD"]})
    annotation = plan.annotation
    assert annotation.classes == ("pancreas", "liver", "duodenum", "pancreas@MSD", "pancreas_tumor")
    btcv, msd = annotation.sources
    assert btcv.annotated_classes == ("pancreas", "liver", "duodenum")
    assert msd.annotated_classes == ("pancreas@MSD", "pancreas_tumor")


def test_neither_scope_is_held_against_the_other_but_other_organs_are():
    plan = plan_of(BTCV, MSD, scoped={"pancreas": ["MSD"]})
    values = dict(zip(plan.annotation.classes, plan.annotation.values))
    assert state(plan, "MSD", values["pancreas@MSD"], "pancreas@MSD") == POSITIVE
    assert state(plan, "MSD", values["pancreas@MSD"], "pancreas") == UNSUPERVISED
    assert state(plan, "MSD", 0, "pancreas") == UNSUPERVISED
    assert state(plan, "MSD", 0, "pancreas@MSD") == NEGATIVE
    assert state(plan, "BTCV", values["pancreas"], "pancreas@MSD") == UNSUPERVISED
    assert state(plan, "BTCV", values["liver"], "pancreas@MSD") == NEGATIVE
    assert state(plan, "BTCV", values["pancreas"], "pancreas_tumor") == UNSUPERVISED


def test_without_the_line_the_classes_are_one():
    plan = plan_of(BTCV, MSD)
    assert "pancreas@MSD" not in plan.annotation.classes and "Pancreas" not in plan.annotation.classes


def test_tumor_lies_in_the_scoped_organ_of_its_source_and_by_the_table_in_the_plain_one():
    plan = plan_of(BTCV, MSD, scoped={"pancreas": ["MSD"]})
    values = dict(zip(plan.annotation.classes, plan.annotation.values))
    assert state(plan, "MSD", values["pancreas_tumor"], "pancreas@MSD") == POSITIVE
    assert state(plan, "MSD", values["pancreas_tumor"], "pancreas") == POSITIVE
    apart = plan_of(BTCV, MSD, scoped={"pancreas": ["MSD"]}, nested={"pancreas_tumor": "pancreas@MSD"})
    values = dict(zip(apart.annotation.classes, apart.annotation.values))
    assert state(apart, "MSD", values["pancreas_tumor"], "pancreas@MSD") == POSITIVE
    assert state(apart, "MSD", values["pancreas_tumor"], "pancreas") == UNSUPERVISED


def test_several_sources_get_a_scope_each_and_the_table_knows_the_structure():
    plan = plan_of(BTCV, MSD, WORD, scoped={"pancreas": ["MSD", "WORD"], "intestine": "WORD"})
    assert {"pancreas", "pancreas@MSD", "pancreas@WORD", "intestine@WORD"} <= set(plan.annotation.classes)
    pairs = plan.annotation.compatible
    for one, other in (("pancreas@MSD", "pancreas@WORD"), ("pancreas", "pancreas@WORD"), ("duodenum", "intestine@WORD")):
        assert frozenset((one, other)) in pairs
    assert frozenset(("liver", "pancreas@MSD")) not in pairs


def test_a_line_under_labels_does_the_same_for_one_dataset():
    by_label = plan_of(BTCV, MSD, datasets={"307": {"labels": {"pancreas": "pancreas@MSD"}}})
    assert by_label == plan_of(BTCV, MSD, scoped={"pancreas": "MSD"})


def test_renamed_labels_and_sources_are_scoped_by_their_merged_names():
    plan = plan_of(
        dataset("Dataset307_MSD", {"bauchspeichel": 1}),
        BTCV,
        datasets={"307": {"name": "Decathlon", "labels": {"bauchspeichel": "pancreas"}}},
        scoped={"pancreas": "Decathlon"},
    )
    assert plan.annotation.classes[0] == "pancreas@Decathlon"


def test_table_facts_hold_for_scoped_names():
    vessel = structure("Hepatic Vessel@MSD")
    assert (vessel.name, vessel.parents) == ("hepatic_vessel@MSD", ("liver",))
    assert structure("gland@X").name == "gland@X"
    assert compatible_pairs(["colon@A", "rectum@B", "liver@A", "spleen"]) == {frozenset(("colon@A", "rectum@B"))}
    kidneys = compatible_pairs(["kidney@A", "left_kidney", "right_kidney", "right_kidney@B"])
    assert kidneys == {
        frozenset(pair)
        for pair in (
            ("kidney@A", "left_kidney"),
            ("kidney@A", "right_kidney"),
            ("kidney@A", "right_kidney@B"),
            ("right_kidney", "right_kidney@B"),
        )
    }
    assert lateral_pairs(["right_kidney", "left_kidney", "left_kidney@KITS", "right_kidney@KITS"]) == [
        ("left_kidney", "right_kidney"),
        ("left_kidney@KITS", "right_kidney@KITS"),
    ]


def test_scope_of_one_label_leaves_another_that_differs_in_underscores_only():
    twins = dataset("Dataset1_T", {"seg_1_1": 1, "seg_11": 2})
    plan = plan_of(twins, datasets={"1": {"labels": {"seg_1_1": "pancreas"}}}, scoped={"pancreas": "T"})
    assert plan.annotation.classes == ("pancreas@T", "seg_11")
    with pytest.raises(UserError, match="Dataset1_T: labels 'seg_1_1' and 'seg_11' differ only in"):
        plan_of(twins, scoped={"seg_11": "T"})


@pytest.mark.parametrize(
    "scoped, message",
    [
        ({"pancreas": "KITS"}, "`scoped: pancreas`: no source KITS; there are BTCV, MSD"),
        ({"spleen": "BTCV"}, "`scoped: spleen`: source BTCV has no such class; its labels give Pancreas, liver, duodenum"),
        ({"pancreas": {"MSD": 1}}, "scoped: pancreas: expected"),
    ],
)
def test_lines_that_fit_nothing_are_named(scoped, message):
    with pytest.raises(UserError, match=re.escape(message)):
        plan_of(BTCV, MSD, scoped=scoped)


def test_one_of_several_sources_of_a_dataset_cannot_be_scoped_alone():
    block = {
        "version": 1,
        "sources": {name: {"annotated_classes": ["pancreas"]} for name in ("A", "B")},
        "case_source": {"case": "A"},
    }
    both = dataset("Dataset390_BOTH", {"pancreas": [1, 1]}, [1], cdpd=block)
    with pytest.raises(UserError, match="Dataset390_BOTH also holds B in the same label values; merge the dataset of A itself"):
        plan_of(both, BTCV, scoped={"pancreas": "A"})


def test_merged_dataset_is_read_back_with_the_scope(nnunet_folders):
    raw = nnunet_folders.raw
    make_dataset(raw / "Dataset301_BTCV", {"pancreas": 1}, ["b1"])
    make_dataset(raw / "Dataset302_MSD", {"pancreas": 1}, ["m1"])
    folder, _ = merge(301, 302, spec={"scoped": {"pancreas": "MSD"}})
    annotation = read_annotation(json.loads((folder / "dataset.json").read_text()))
    assert annotation.classes == ("pancreas", "pancreas@MSD")
    assert set(read(folder / "labelsTr/b1.nii.gz").ravel()) == {0, 1}
    assert set(read(folder / "labelsTr/m1.nii.gz").ravel()) == {0, 2}
