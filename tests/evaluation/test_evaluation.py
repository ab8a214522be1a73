"""Metrics and matching: hand-computed masks, anisotropic spacing, every axis of another length."""

import math
from dataclasses import replace

import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED, read_annotation
from nnunetv2_cdpd.evaluation.matching import prediction_states
from nnunetv2_cdpd.evaluation.metrics import OVERLAP_METRICS, case_metrics
from nnunetv2_cdpd.evaluation.protocols import NNUNET

SHAPE = (6, 9, 11)
SPACING = (3.0, 1.0, 2.0)  # mm, array order

PLAIN = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 2}})
MERGED = read_annotation(
    {
        "labels": {
            "background": 0,
            "liver": [1, 2],
            "liver_tumor": 2,
            "right_kidney": [3, 6],
            "left_kidney": [4, 6],
            "kidney_tumor": 5,
            "ignore": 7,
        },
        "regions_class_order": [1, 2, 3, 4, 5],
        "cdpd": {
            "version": 1,
            "sources": {
                "all": {"annotated_classes": ["liver", "liver_tumor", "right_kidney", "left_kidney", "kidney_tumor"]},
                "kidneys": {"annotated_classes": ["kidney_tumor"], "merged_labels": ["kidney"]},
                "liver": {"annotated_classes": ["liver"]},
            },
            "merged_labels": {"kidney": {"value": 6, "classes": ["right_kidney", "left_kidney"]}},
            "possible_parents": {"kidney_tumor": ["right_kidney", "left_kidney"]},
        },
    }
)
ALL, KIDNEYS, LIVER = 0, 1, 2


def volume(**voxels):
    """A label map with these voxels: value_1=[(x, y, z), ...]."""
    label_map = np.zeros(SHAPE, np.int32)
    for name, positions in voxels.items():
        label_map[tuple(np.array(positions).T)] = int(name.rpartition("_")[2])
    return label_map


def score(reference_map, prediction_map, reference=PLAIN, source=0, prediction=None, **kwargs):
    return case_metrics(
        reference_map, prediction_map, SPACING, reference=reference, source=source, prediction=prediction or reference, **kwargs
    )


@pytest.mark.parametrize(
    "other, distance", [((5, 4, 5), 3 * 3.0), ((2, 8, 5), 4 * 1.0), ((2, 4, 10), 5 * 2.0), ((4, 7, 5), math.hypot(6, 3))]
)
def test_hd95_of_two_voxels_is_their_distance_in_mm(other, distance):
    liver = score(volume(of_1=[(2, 4, 5)]), volume(of_1=[other]))["liver"]
    assert liver["HD95_mm"] == pytest.approx(distance, abs=1e-4)
    assert liver["Dice"] == 0 and (liver["TP"], liver["FP"], liver["FN"]) == (0, 1, 1)


@pytest.mark.parametrize("tolerance, expected", [(9.9, 0.5), (10.1, 1.0), (1.0, 0.0)])
def test_surface_dice_of_two_voxels_ten_mm_apart(tolerance, expected):
    # The surface of a voxel has elements at its 8 corners. Along the axis between two voxels, 5 steps apart, half of the
    # corners of each lie 4 steps (8 mm) from the other's nearest corner, the other half 5 steps (10 mm).
    scores = score(volume(of_1=[(2, 4, 5)]), volume(of_1=[(2, 4, 10)]), tolerance_mm=tolerance)
    assert scores["liver"]["SurfaceDice"] == pytest.approx(expected, abs=1e-4)


def test_a_structure_at_the_border_of_the_volume_has_its_whole_surface():
    corner = score(volume(of_1=[(0, 0, 0)]), volume(of_1=[(0, 0, 3)]), tolerance_mm=5)["liver"]
    inside = score(volume(of_1=[(2, 4, 3)]), volume(of_1=[(2, 4, 6)]), tolerance_mm=5)["liver"]
    assert corner["HD95_mm"] == pytest.approx(6) and inside["HD95_mm"] == pytest.approx(6)
    assert corner["SurfaceDice"] == pytest.approx(inside["SurfaceDice"])


def test_an_image_of_one_slice_is_scored_in_its_plane():
    first, second = np.zeros((1, 9, 11), int), np.zeros((1, 9, 11), int)
    first[0, 2:5, 3:6], second[0, 2:5, 5:8] = 1, 1
    options = {"reference": PLAIN, "source": 0, "prediction": PLAIN, "tolerance_mm": 1.0}
    scores = case_metrics(first, second, (999.0, 1.0, 2.0), **options)["liver"]
    assert scores["HD95_mm"] == pytest.approx(4)
    assert 0 < scores["SurfaceDice"] < 1


def test_overlap_counts_and_identical_masks():
    reference, prediction = volume(of_1=[(1, 1, z) for z in range(4)]), volume(of_1=[(1, 1, z) for z in range(1, 7)])
    liver = score(reference, prediction)["liver"]
    assert [liver[name] for name in ("TP", "FP", "FN", "n_ref", "n_pred")] == [3, 3, 1, 4, 6]
    assert liver["TN"] == np.prod(SHAPE) - 7
    assert liver["Dice"] == pytest.approx(6 / 10) and liver["IoU"] == pytest.approx(3 / 7)
    same = score(reference, reference)["liver"]
    assert (same["Dice"], same["IoU"], same["HD95_mm"], same["SurfaceDice"]) == (1, 1, 0, 1)
    assert set(same) == set(NNUNET.metrics)


def test_empty_masks_follow_the_documented_rules():
    empty, full = volume(), volume(of_1=[(2, 4, 5)])
    both, missed, spurious = (score(*pair)["liver"] for pair in ((empty, empty), (full, empty), (empty, full)))
    assert all(math.isnan(both[name]) for name in ("Dice", "IoU", "HD95_mm", "SurfaceDice"))
    for one in (missed, spurious):
        assert (one["Dice"], one["IoU"], one["SurfaceDice"], one["HD95_mm"]) == (0, 0, 0, math.inf)
    assert (missed["n_ref"], missed["n_pred"], spurious["n_ref"], spurious["n_pred"]) == (1, 0, 0, 1)


def test_without_tolerance_no_surface_metrics():
    assert set(score(volume(), volume(), tolerance_mm=None)["liver"]) == set(OVERLAP_METRICS)


def test_only_what_the_source_annotates_is_scored():
    scored = [set(score(volume(), volume(), MERGED, source)) for source in (ALL, KIDNEYS, LIVER)]
    # the tumor lies in one kidney or the other, so even a source of both sides is scored on the union too
    assert scored[ALL] == {*MERGED.classes, "kidney"}
    assert scored[KIDNEYS] == {"kidney_tumor", "kidney"}
    assert scored[LIVER] == {"liver"}


def test_a_parent_includes_its_nested_class():
    reference = volume(of_1=[(1, 1, 1), (1, 1, 2)], tumor_2=[(1, 1, 3)])
    prediction = volume(of_1=[(1, 1, 1)], tumor_2=[(1, 1, 2), (1, 1, 3)])
    scores = score(reference, prediction, MERGED)
    assert scores["liver"]["Dice"] == 1 and scores["liver"]["n_ref"] == 3
    assert (scores["liver_tumor"]["TP"], scores["liver_tumor"]["FP"]) == (1, 1)


def test_a_merged_label_is_scored_as_its_union():
    reference = volume(kidney_6=[(1, 1, 1), (1, 1, 2), (4, 1, 1)])
    prediction = volume(right_3=[(1, 1, 1)], left_4=[(4, 1, 1), (4, 1, 2)])
    kidney = score(reference, prediction, MERGED, KIDNEYS)["kidney"]
    assert [kidney[name] for name in ("TP", "FP", "FN")] == [2, 1, 1]


def test_a_tumor_of_either_kidney_counts_for_the_union_and_takes_the_other_side_s_answer_for_each():
    right, left, tumor, none = (1, 1, 1), (4, 1, 1), (1, 1, 2), (1, 1, 3)
    reference = volume(right_3=[right], left_4=[left], tumor_5=[tumor])
    as_kidney = score(reference, volume(right_3=[right, tumor], left_4=[left]), MERGED)
    assert (as_kidney["right_kidney"]["Dice"], as_kidney["right_kidney"]["n_ref"]) == (1, 2)
    assert (as_kidney["left_kidney"]["Dice"], as_kidney["left_kidney"]["n_ref"]) == (1, 1)
    assert as_kidney["kidney"]["Dice"] == 1 and as_kidney["kidney_tumor"]["Dice"] == 0

    # a predicted tumor is right kidney where the reference says so; where it says background it is not held against a side
    predicted_tumor = score(volume(right_3=[right, tumor]), volume(right_3=[right], tumor_5=[tumor, none]), MERGED)
    assert [predicted_tumor["right_kidney"][name] for name in ("TP", "FP", "FN")] == [2, 0, 0]
    assert [predicted_tumor["kidney"][name] for name in ("TP", "FP", "FN")] == [2, 1, 0]

    both = score(volume(tumor_5=[tumor]), volume(tumor_5=[tumor]), MERGED)
    assert both["right_kidney"]["n_ref"] == both["right_kidney"]["n_pred"] == 0
    assert math.isnan(both["left_kidney"]["Dice"]) and both["kidney"]["Dice"] == 1


def test_the_ignore_label_counts_nowhere():
    reference, prediction = volume(of_1=[(1, 1, 1)], ignore_7=[(4, 8, 9), (4, 8, 8)]), volume(of_1=[(1, 1, 1), (4, 8, 9)])
    liver = score(reference, prediction, MERGED, LIVER)["liver"]
    assert [liver[name] for name in ("TP", "FP", "FN", "TN")] == [1, 0, 0, np.prod(SHAPE) - 3]
    assert (liver["Dice"], liver["HD95_mm"], liver["SurfaceDice"]) == (1, 0, 1)
    only_ignored = score(volume(ignore_7=[(4, 8, 9)]), volume(of_1=[(4, 8, 9)]), MERGED, LIVER)["liver"]
    assert math.isnan(only_ignored["Dice"]) and math.isnan(only_ignored["HD95_mm"])


def test_classes_are_matched_by_name_not_by_value():
    other = read_annotation({"labels": {"background": 0, "Spleen ": 1, "pancreas": 2, "LIVER": 3}})
    positions = {"liver": [(1, 1, 1), (1, 2, 1)], "spleen": [(4, 4, 4)]}
    reference = volume(of_1=positions["liver"], of_2=positions["spleen"])
    prediction = volume(of_3=positions["liver"], of_1=positions["spleen"], of_2=[(5, 5, 5)])
    scores = score(reference, prediction, prediction=other)
    assert {name: metrics["Dice"] for name, metrics in scores.items()} == {"liver": 1, "spleen": 1}


def test_classes_are_matched_by_other_names_of_theirs_where_these_are_clear():
    reference = read_annotation({"labels": {"background": 0, "kidney_left": 1, "gall bladder": 2, "right kidney": 3}})
    ours = read_annotation({"labels": {"background": 0, "right_kidney": 1, "left_kidney": 2, "gallbladder": 3}})
    no, yes = NEGATIVE, POSITIVE
    assert {name: states.tolist() for name, states in prediction_states(reference, ours).items()} == {
        "kidney_left": [no, no, yes, no], "gall bladder": [no, no, no, yes], "right kidney": [no, yes, no, no]
    }  # fmt: skip
    twice = read_annotation({"labels": {"background": 0, "Left Kidney": 1, "kidney_l": 2}})  # of two, the one spelled alike
    assert prediction_states(ours, twice)["left_kidney"].tolist() == [no, yes, no]
    assert set(prediction_states(reference, twice)) == set()  # `kidney_left` may be either


def test_a_class_that_the_prediction_does_not_know_is_not_scored():
    other = read_annotation({"labels": {"background": 0, "spleen": 1}})
    assert set(score(volume(), volume(), prediction=other)) == {"spleen"}
    assert "kidney" not in prediction_states(MERGED, other)


def test_a_merged_label_matches_a_class_of_its_name():
    one_kidney = read_annotation({"labels": {"background": 0, "kidney": 1}})
    reference = volume(kidney_6=[(1, 1, 1)])
    assert score(reference, volume(of_1=[(1, 1, 1)]), MERGED, KIDNEYS, one_kidney)["kidney"]["Dice"] == 1
    sides = score(volume(of_1=[(1, 1, 1), (4, 1, 1)]), volume(right_3=[(1, 1, 1)], left_4=[(4, 1, 1)]), one_kidney, 0, MERGED)
    assert sides["kidney"]["Dice"] == 1


def test_states_of_predicted_values():
    states = prediction_states(MERGED, MERGED)
    unknown, yes, no = UNSUPERVISED, POSITIVE, NEGATIVE
    assert states["liver"].tolist() == [no, yes, yes, no, no, no, no, no]
    assert states["right_kidney"].tolist() == [no, no, no, yes, no, unknown, unknown, no]
    assert states["kidney"].tolist() == [no, no, no, yes, yes, yes, yes, no]


def test_fully_annotated_data_gets_nnunets_numbers():
    generator = np.random.default_rng(0)
    maps = {"reference": generator.integers(0, 5, SHAPE), "prediction": generator.integers(0, 4, SHAPE)}

    class Reader:
        def read_seg(self, name):
            return maps[name][None].astype(np.float32), {}

    annotation = read_annotation({"labels": {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}})
    host = compute_metrics("reference", "prediction", Reader(), [1, 2, 3], ignore_label=4)["metrics"]
    ours = case_metrics(
        maps["reference"], maps["prediction"], SPACING, reference=annotation, source=0, prediction=annotation, tolerance_mm=None
    )
    for name, label in (("a", 1), ("b", 2), ("c", 3)):
        assert ours[name] == pytest.approx(host[label])


def test_many_classes_do_not_overflow():
    labels = {"background": 0, **{f"class_{value}": value for value in range(1, 301)}}
    annotation = read_annotation({"labels": labels})
    label_map = volume(of_300=[(1, 1, 1)], of_299=[(4, 4, 4)])
    scores = score(label_map, label_map, annotation)
    assert scores["class_300"]["n_ref"] == 1 and scores["class_299"]["SurfaceDice"] == 1
    assert np.isnan(scores["class_1"]["Dice"])
    assert replace(annotation, case_source=None).num_values == 301
