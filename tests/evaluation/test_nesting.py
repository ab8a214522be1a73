"""Annotations of which one puts a class into another, made alike; maps of a few voxels, counted by hand."""

import json

import numpy as np
import pytest
from builders.evaluation import LIVER, evaluate, write, write_json

from nnunetv2_cdpd.annotation import contradictions, read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.evaluation.nesting import nested_alike
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.evaluation.tables import text_table
from nnunetv2_cdpd.report.mistakes import mistakes_of

TUMOR = np.s_[1:2, 2:3, 2:4]  # z, y, x; in LIVER


def labelled(order=None, block=None, **labels):
    """An annotation; block: More of its `cdpd` block than the source, which annotates everything."""
    content = {"labels": {"background": 0, **labels}}
    content |= {} if order is None else {"regions_class_order": order}
    sources = {"sources": {"s": {"annotated_classes": list(labels)}}}
    return read_annotation(content | ({} if block is None else {"cdpd": {"version": 1, **sources, **block}}))


PLAIN = labelled(liver=1, liver_tumor=2)
NESTED = labelled([1, 2], liver=[1, 2], liver_tumor=2)
KIDNEYS = {"right_kidney": 1, "left_kidney": 2, "kidney_tumor": 3}
PLAIN_KIDNEYS = labelled(**KIDNEYS)
POSSIBLE = {"kidney_tumor": ["right_kidney", "left_kidney"]}
EITHER_KIDNEY = labelled([1, 2, 3], {"possible_parents": POSSIBLE}, **{name: [value, value] for name, value in KIDNEYS.items()})


def scores(reference_map, prediction_map, reference, prediction):
    """Class or union -> Dice of maps of one row."""
    alike = nested_alike(reference, prediction)
    assert not [*contradictions(alike.reference), *contradictions(alike.prediction)]
    found = case_metrics(
        np.array([[reference_map]]),
        np.array([[prediction_map]]),
        (1, 1, 1),
        reference=alike.reference,
        source=0,
        prediction=alike.prediction,
        tolerance_mm=None,
    )
    return {name: its["Dice"] for name, its in found.items()}


@pytest.mark.parametrize(("reference", "prediction"), [(PLAIN, NESTED), (NESTED, PLAIN)])
def test_a_class_that_one_side_has_lie_in_another_lies_there_on_both(reference, prediction):
    assert scores([1, 1, 2, 2, 0], [1, 1, 2, 2, 0], reference, prediction) == {"liver": 1, "liver_tumor": 1}
    assert scores([1, 1, 2, 2, 0], [1, 1, 1, 2, 2], reference, prediction)["liver"] == pytest.approx(8 / 9)
    assert nested_alike(reference, prediction).nested == {"liver": ("liver_tumor",)}


@pytest.mark.parametrize("annotation", [PLAIN, NESTED, PLAIN_KIDNEYS, EITHER_KIDNEY])
def test_what_is_alike_stays_as_it_is(annotation):
    alike = nested_alike(annotation, annotation)
    assert (alike.reference, alike.prediction, alike.nested, alike.doubts) == (annotation, annotation, {}, {})


def test_plain_labels_of_the_same_classes_are_scored_as_they_are():
    assert scores([1, 2], [2, 2], PLAIN, PLAIN)["liver"] == 0


def test_chains_and_several_nested_classes_by_other_names():
    names = {"Liver": 1, "liver vessel": 2, "hepatic vessel tumour": 3, "hepatic_tumor": 4}
    chain = labelled([1, 2, 3, 4], liver=[1, 2, 3, 4], hepatic_vessel=[2, 3], hepatic_vessel_tumor=3, liver_tumor=4)
    plain = labelled(**names)
    assert set(scores([1, 2, 3, 4, 0], [1, 2, 3, 4, 0], plain, chain).values()) == {1}
    assert nested_alike(plain, chain).nested == {
        "Liver": ("liver vessel", "hepatic vessel tumour", "hepatic_tumor"),
        "liver vessel": ("hepatic vessel tumour",),
    }
    part = labelled([1, 2, 3, 4], liver=[1, 4], hepatic_vessel=[2, 3], hepatic_vessel_tumor=3, liver_tumor=4)
    alike = nested_alike(part, chain)
    assert alike.nested == {"liver": ("hepatic_vessel", "hepatic_vessel_tumor")}
    assert (alike.reference.regions, alike.prediction) == (chain.regions, chain)


@pytest.mark.parametrize("turned", [False, True])
def test_a_tumor_of_either_kidney_takes_the_other_side_s_answer_for_each(turned):
    pair = (EITHER_KIDNEY, PLAIN_KIDNEYS) if turned else (PLAIN_KIDNEYS, EITHER_KIDNEY)
    assert set(scores([1, 3, 2, 0], [1, 3, 2, 0], *pair).values()) == {1}
    missed = scores([1, 3, 2, 0], [1, 1, 2, 0], *pair)
    assert (missed["right_kidney"], missed["left_kidney"], missed["kidney_tumor"]) == (1, 1, 0)


def test_a_tumor_beside_a_kidney_without_side_is_of_both_kidneys_together():
    merged = {"kidney": {"value": 4, "classes": ["right_kidney", "left_kidney"]}}
    block = {"possible_parents": POSSIBLE, "merged_labels": merged}
    sides = labelled([1, 2, 3], block, right_kidney=[1, 4], left_kidney=[2, 4], kidney_tumor=3)
    one = labelled(kidney=1, kidney_tumor=2)
    assert scores([1, 1, 2, 0], [1, 2, 3, 0], one, sides) == {"kidney": 1, "kidney_tumor": 1}
    assert scores([1, 2, 3, 0], [1, 1, 2, 0], sides, one) == {"kidney": 1, "kidney_tumor": 1}


@pytest.mark.parametrize(("reference", "prediction"), [(labelled(liver=1), PLAIN), (PLAIN, labelled(liver=1))])
def test_an_organ_without_a_tumor_label_holds_the_tumors(reference, prediction):
    to_values = [{1: 1, 2: 2 if side is PLAIN else 1, 0: 0} for side in (reference, prediction)]
    maps = [[values[value] for value in (1, 1, 2, 2, 0)] for values in to_values]
    assert scores(*maps, reference, prediction)["liver"] == 1
    assert nested_alike(reference, prediction).nested == {"liver": ("liver_tumor",)}


@pytest.mark.parametrize("is_reference", [False, True])
def test_what_lies_in_a_part_of_an_organ_lies_in_the_organ(is_reference):
    bowel, tumor = labelled(large_bowel=1), labelled(large_bowel=1, colon_tumor=2)
    sides = (([1, 2, 0], tumor), ([1, 1, 0], bowel))
    (reference_map, reference), (prediction_map, prediction) = sides if is_reference else sides[::-1]
    assert scores(reference_map, prediction_map, reference, prediction)["large_bowel"] == 1


def test_predicted_tumors_beside_kidneys_without_tumor_labels_are_of_the_kidney_that_the_reference_says():
    found = scores([1, 1, 2, 0], [1, 3, 2, 3], labelled(kidney_right=1, kidney_left=2), PLAIN_KIDNEYS)
    assert found == {"kidney_right": 1, "kidney_left": 1}


def test_a_tumor_by_a_name_that_no_table_knows_may_be_the_same_so_the_class_table_does_not_decide():
    assert scores([1, 1, 2], [1, 1, 2], labelled(liver=1, cancer=2), PLAIN) == {"liver": 1}
    doubts = nested_alike(labelled(liver=1, cancer=2), NESTED).doubts
    assert doubts == {
        "liver": "the prediction's liver_tumor counts for it, the reference's cancer does not; if they are one, name both alike"
    }
    assert not nested_alike(labelled(liver=1, spleen=2), NESTED).doubts


def test_what_was_not_asked_for_is_no_part_of_a_predicted_organ():
    one = labelled([1], {"unasked": ["liver_tumor"]}, liver=[1, 1])
    assert scores([1, 1, 2], [1, 1, 0], PLAIN, one) == {"liver": 1}


def test_what_both_sides_would_put_into_each_other_stays():
    one, other = (labelled([1, 2], **{outer: [1, 2], inner: 2}) for outer, inner in (("a", "b"), ("b", "a")))
    alike = nested_alike(one, other)
    assert (alike.reference, alike.prediction) == (one, other)


def test_regions_that_would_be_the_same_stay_and_are_told():
    whole = labelled([3, 1, 2], whole=[1, 2, 3], liver=[1, 3], liver_tumor=2)
    alike = nested_alike(whole, NESTED)
    assert alike.reference is whole
    assert "liver" in alike.doubts


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def liver_folders(tmp_path):
    """The same label map as a prediction of a merged dataset's model, and as a reference with plain labels."""
    truth, predicted = tmp_path / "Dataset310_L" / "labelsTr", tmp_path / "predicted"
    described = {"file_ending": ".nii.gz", "channel_names": {"0": "CT"}}
    write_json(truth.parent / "dataset.json", described | {"labels": {"background": 0, "liver": 1, "liver_tumor": 2}})
    labels = {"background": 0, "liver": [1, 2], "liver_tumor": 2}
    write_json(predicted / "dataset.json", described | {"labels": labels, "regions_class_order": [1, 2]})
    for folder in (truth, predicted):
        write(folder / "a.nii.gz", {1: LIVER, 2: TUMOR})
    return predicted, truth


def test_the_command_says_it_in_a_line_and_in_the_summary(liver_folders, capsys):
    predicted, truth = liver_folders
    assert main(["evaluate", str(predicted), str(truth), "-np", "1"]) == 0
    told = "on both sides, though not the labels of both say so: liver includes liver_tumor"
    assert f"note: {told}\n" in capsys.readouterr().out
    assert told in (predicted / "summary.txt").read_text().splitlines()
    assert json.loads((predicted / "summary.json").read_text())["cdpd"]["nested"] == {"liver": ["liver_tumor"]}
    results = read_results(predicted / "summary.json")
    assert results.summary("liver").means["Dice"] == results.summary("liver_tumor").means["Dice"] == 1
    assert text_table(results) == (predicted / "summary.txt").read_text()
    mistakes = mistakes_of(results, results.cases[0])
    assert not mistakes.codes[1:3, 1:3].diagonal().any()


def test_two_models_are_compared_on_the_same_organ(liver_folders, tmp_path, capsys):
    predicted, truth = liver_folders
    other = tmp_path / "other"
    write(other / "a.nii.gz", {1: LIVER, 2: TUMOR})  # plain labels, those of the references
    assert main(["evaluate", str(predicted), str(truth), "--compare", str(other), "-np", "1"]) == 0
    counts = json.loads((predicted / "comparison.json").read_text())["metrics"]["Dice"]["liver"]
    assert (counts["A"], counts["B"]) == (1, 1)
    assert "liver includes liver_tumor" in (predicted / "summary.txt").read_text()
    write(other / "a.nii.gz", {1: LIVER})  # finds the liver, not the tumor in it
    for folder, beside in ((other, predicted), (predicted, other)):
        out = ["-o", str(tmp_path / f"to_{beside.name}")]
        assert main(["evaluate", str(folder), str(truth), "--compare", str(beside), "-np", "1", *out]) == 0
        counts = json.loads((tmp_path / f"to_{beside.name}" / "comparison.json").read_text())["metrics"]["Dice"]["liver"]
        assert (counts["A"], counts["B"]) == (1, 1)


def test_only_what_is_scored_is_told(liver_folders):
    predicted, truth = liver_folders
    notes = []
    labels = {"background": 0, "liver": [1, 2], "liver_tumor": 2, "spleen": 3}
    block = {"version": 1, "sources": {"s": {"annotated_classes": ["spleen"]}}}
    content = {"labels": labels, "regions_class_order": [1, 2, 3], "file_ending": ".nii.gz", "cdpd": block}
    write_json(truth.parent / "dataset.json", content)
    plain = {"labels": {"background": 0, "liver": 1, "liver_tumor": 2, "spleen": 3}, "file_ending": ".nii.gz"}
    write_json(predicted / "dataset.json", plain)
    evaluate(predicted, truth, report=notes.append)
    assert notes == []


# ---- classes that are made of others, merged labels, sides -----------------------------------------------------------------

CYSTS = {"right_kidney": [1, 4], "left_kidney": [2, 3], "left_kidney_cyst": 3, "right_kidney_cyst": 4, "kidney_cyst": [3, 4]}
OF_CYSTS = labelled([1, 2, 3, 4, 3], **CYSTS)  # the cysts of both sides have the value of the left ones


@pytest.mark.parametrize("is_reference", [True, False])
def test_a_class_that_is_made_of_others_is_not_taken_for_the_one_whose_value_it_has(is_reference):
    plain = labelled(left_kidney=1, right_kidney=2, kidney_cyst=3)
    maps = ([1, 2, 3, 4, 1, 2], [2, 1, 3, 3, 2, 1])
    sides = ((maps[0], OF_CYSTS), (maps[1], plain))
    (reference_map, reference), (prediction_map, prediction) = sides if is_reference else sides[::-1]
    found = scores(reference_map, prediction_map, reference, prediction)
    assert {found[name] for name in ("left_kidney", "right_kidney", "kidney_cyst") if name in found} == {1}


@pytest.mark.parametrize("is_reference", [True, False])
def test_what_one_side_has_as_a_merged_label_lies_in_the_organ_too(is_reference):
    plain = labelled(kidney=1, kidney_cyst=2)
    block = {"merged_labels": {"kidney_cyst": {"value": 5, "classes": ["left_kidney_cyst", "right_kidney_cyst"]}}}
    labels = {"kidney": [1, 2, 3, 5], "left_kidney_cyst": [2, 5], "right_kidney_cyst": [3, 5], "spleen": [4, 4]}
    sources = {"s": {"annotated_classes": ["kidney"], "merged_labels": ["kidney_cyst"]}}
    merged = labelled([1, 2, 3, 4], {**block, "sources": sources}, **labels)
    sides = (([1, 1, 2, 2, 0], plain), ([1, 1, 5, 5, 0], merged))
    (reference_map, reference), (prediction_map, prediction) = sides if is_reference else sides[::-1]
    assert scores(reference_map, prediction_map, reference, prediction)["kidney"] == 1


@pytest.mark.parametrize("is_reference", [True, False])
def test_a_tumor_with_a_side_is_no_stranger(is_reference):
    sided = labelled(right_kidney=1, left_kidney=2, right_kidney_tumor=3, left_kidney_tumor=4)
    sides = (([1, 2, 3, 4, 1, 2], sided), ([1, 2, 3, 3, 1, 2], PLAIN_KIDNEYS))
    (reference_map, reference), (prediction_map, prediction) = sides if is_reference else sides[::-1]
    found = scores(reference_map, prediction_map, reference, prediction)
    assert not {value for name, value in found.items() if "kidney" in name and "tumor" not in name} - {1}
    assert not nested_alike(reference, prediction).doubts
