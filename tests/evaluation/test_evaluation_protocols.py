"""The paper's protocol, bootstrap intervals and the comparison of two models: values that can be worked out by hand."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from builders.evaluation import LIVER, SPLEEN, evaluate, write
from scipy import stats

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean
from nnunetv2_cdpd.evaluation.compare import compare_results, holm, smallest_p
from nnunetv2_cdpd.evaluation.evaluate import compare_folders, evaluate_folder
from nnunetv2_cdpd.evaluation.metrics import case_metrics, resampled_label_map
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PAPER
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.scoring import EvaluationOptions
from nnunetv2_cdpd.evaluation.surfaces import pooled_hd95_voxels
from nnunetv2_cdpd.evaluation.tables import comparison_table, text_table

PLAIN = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 2}})
SHAPE = (6, 9, 11)


def volume(**voxels):
    label_map = np.zeros(SHAPE, np.int32)
    for name, positions in voxels.items():
        label_map[tuple(np.array(positions).T)] = int(name.rpartition("_")[2])
    return label_map


def paper_scores(reference_map, prediction_map, spacing=(1.5, 1.5, 1.5)):
    options = {"reference": PLAIN, "source": 0, "prediction": PLAIN, "protocol": PAPER}
    return case_metrics(reference_map, prediction_map, spacing, **options)


# ---- the paper's protocol ------------------------------------------------------------------------------------------------


def test_the_paper_s_dice_has_one_more_in_its_denominator():
    reference, prediction = volume(of_1=[(1, 1, z) for z in range(4)]), volume(of_1=[(1, 1, z) for z in range(1, 7)])
    assert paper_scores(reference, prediction)["liver"]["Dice"] == pytest.approx(2 * 3 / (4 + 6 + 1))


@pytest.mark.parametrize(
    "spacing, distances",
    [
        ((1.5, 1.5, 1.5), [4, 4]),
        ((1.5, 1.5, 3.0), [7, 7, 8]),  # the second voxel of 3 mm becomes two, 7 and 8 of 1.5 mm after the first
        ((1.5, 1.5, 0.75), [2, 2]),
    ],
)
def test_the_paper_s_hd95_is_in_voxels_of_the_resampled_grid(spacing, distances):
    scores = paper_scores(volume(of_1=[(2, 4, 0)]), volume(of_1=[(2, 4, 4)]), spacing)["liver"]
    assert scores["HD95_voxels"] == pytest.approx(np.percentile(distances, 95)) and "HD95_mm" not in scores


def test_the_paper_skips_cases_whose_reference_lacks_the_class_and_counts_a_missed_one_as_999():
    assert set(paper_scores(volume(), volume(of_1=[(1, 1, 1)]))) == set()
    missed = paper_scores(volume(of_2=[(1, 1, 1)]), volume())["spleen"]
    assert (missed["Dice"], missed["HD95_voxels"], missed["SurfaceDice"]) == (0, 999, 0)


def test_its_hd95_is_the_percentile_of_both_directions_together():
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    first[2, 4, 1:9] = True
    second[2, 4, 1] = True
    # 0 from the second to the first; 0 ... 7 the other way
    assert pooled_hd95_voxels(first, second) == pytest.approx(np.percentile([0, 0, 1, 2, 3, 4, 5, 6, 7], 95))
    block = np.zeros(SHAPE, bool)
    block[1:5, 1:6, 1:7] = True  # only its border counts
    inner = np.zeros(SHAPE, bool)
    inner[2:4, 2:5, 2:6] = True
    # every voxel of the inner block is at its border and lies 1 from the border of the outer one
    outwards = [1] * (2 * 3 * 4)
    corners = np.argwhere(block & ~inner)
    inwards = np.sqrt((np.maximum(0, np.maximum((2, 2, 2) - corners, corners - (3, 4, 5))) ** 2).sum(1))
    assert pooled_hd95_voxels(block, inner) == pytest.approx(np.percentile([*outwards, *inwards], 95))


def test_resampling_takes_the_nearest_voxel_and_keeps_the_first():
    line = np.arange(1, 8).reshape(1, 1, 7)
    assert resampled_label_map(line, (9.0, 1.5, 1.5), 1.5).ravel().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert resampled_label_map(line, (9.0, 1.5, 3.0), 1.5).ravel().tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert resampled_label_map(line, (9.0, 1.5, 0.5), 1.5).ravel().tolist() == [1, 4, 7]


def test_the_command_takes_the_protocol_and_the_files_remember_it(folders, capsys):
    predicted, truth = folders
    assert main(["evaluate", str(predicted), str(truth), "-np", "1", "--protocol", "paper"]) == 0
    out = capsys.readouterr().out
    assert "protocol paper; HD95 in voxels of 1.5 mm" in out and "not annotated, or in no reference: right_kidney" in out
    rows = list(csv.DictReader((predicted / "metrics.csv").open()))
    assert list(rows[0])[3:] == list(PAPER.metrics) and float(rows[3]["HD95_voxels"]) == 999
    results = read_results(predicted / "summary.json")
    assert results.protocol == PAPER and text_table(results) == (predicted / "summary.txt").read_text()
    assert results.summary("spleen").means["HD95_voxels"] == pytest.approx(999 / 2)
    with pytest.raises(UserError, match="protocol 'lancet': choose from nnunet, paper"):
        evaluate(predicted, truth, protocol="lancet")


# ---- bootstrap -----------------------------------------------------------------------------------------------------------


def test_the_interval_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(3).beta(5, 2, 40)
    ours = interval_of_mean(values[:, None])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile").confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.006)
    assert ours == interval_of_mean(values[:, None])  # the same each time


def test_the_interval_of_the_mean_of_classes_draws_whole_cases():
    one = np.random.default_rng(0).random(30)
    # two classes that cancel: the mean of each case is the same, whatever is drawn
    assert interval_of_mean(np.stack([one, 1 - one], 1)) == pytest.approx((0.5, 0.5))
    gaps = np.stack([one, np.where(np.arange(30) < 2, one, np.nan)], 1)
    low, high = interval_of_mean(gaps)
    assert 0 <= low < high <= 1


def test_no_interval_for_fewer_than_two_cases():
    assert np.isnan(interval_of_mean(np.array([[0.5]]))).all() and np.isnan(interval_of_mean(np.array([[np.nan], [0.5]]))).all()
    assert np.isnan(interval_of_mean(np.zeros((0, 1)))).all()


# ---- comparison ----------------------------------------------------------------------------------------------------------


def results_of(dice, hd95=None, protocol=NNUNET, tolerance_mm=3.0):
    """Results with a Dice per case of the liver and, where given, of the spleen."""
    cases = []
    for index, row in enumerate(np.reshape(dice, (len(dice), -1))):
        metrics = {}
        for name, value in zip(("liver", "spleen"), row):
            distance = hd95[index] if hd95 else 1.0
            counts = dict.fromkeys(("TP", "FP", "FN", "TN"), 1) | {"n_ref": 5, "n_pred": 0 if value == 0 else 5}
            metrics[name] = {"Dice": value, "IoU": value, protocol.distance: distance, "SurfaceDice": value, **counts}
        cases.append(CaseScores(f"case_{index}", "s", "", "", metrics))
    return Results(PLAIN, PLAIN, tuple(cases), tolerance_mm, protocol=protocol)


def test_wilcoxon_differences_and_counts_of_a_class():
    own = [0.9, 0.8, 0.7, 0.6, 0.95, 0.5, 0.85, 0.3]
    other = [0.8, 0.75, 0.72, 0.5, 0.9, 0.5, 0.6, 0.0]
    comparison = compare_results(results_of(own), results_of(other))
    (liver,) = comparison.classes["Dice"]
    differences = np.subtract(own, other)
    assert (liver.cases, liver.better, liver.worse, liver.equal) == (8, 6, 1, 1)
    assert liver.difference == pytest.approx(differences.mean()) == pytest.approx(liver.mean - liver.other_mean)
    assert liver.p == pytest.approx(stats.wilcoxon(differences[differences != 0]).pvalue) and liver.p_holm == liver.p
    assert liver.interval[0] < liver.difference < liver.interval[1]
    assert [summary.missed for summary in comparison.summaries("liver")] == [0, 1]


def test_a_smaller_hd95_is_better_and_infinite_ones_are_left_out():
    comparison = compare_results(results_of([0.5] * 3, [1, 5, math.inf]), results_of([0.5] * 3, [2, 4, 3]))
    (distance,) = comparison.classes["HD95_mm"]
    assert (distance.cases, distance.better, distance.worse) == (2, 1, 1) and distance.difference == 0
    (dice,) = comparison.classes["Dice"]
    assert (dice.p, dice.equal, dice.interval) == (1.0, 3, (0, 0))


def test_cases_are_paired_by_name_in_whatever_order_they_come():
    own, other = results_of([0.9, 0.5, 0.3]), results_of([0.8, 0.6, 0.0])
    turned = compare_results(own, replace(other, cases=other.cases[::-1]))
    assert turned.classes == compare_results(own, other).classes and turned.classes["Dice"][0].better == 2


@pytest.mark.parametrize("cases", range(1, 7))
def test_equal_differences_make_no_p_below_the_smallest_one(cases):
    (liver,) = compare_results(results_of([0.9] * cases), results_of([0.5] * cases)).classes["Dice"]
    assert liver.p == pytest.approx(smallest_p(cases, cases))


def test_a_metric_without_a_value_in_both_is_told_in_a_line():
    missed = results_of([0.0, 0.0], [math.inf, math.inf])
    table = comparison_table(compare_results(missed, missed), "x", "y")
    assert "HD95_mm: in no case do both have a value" in table and "nan" not in table


def test_holm_s_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_classes_are_corrected_together():
    own, other = np.random.default_rng(1).random((2, 12, 2))
    entries = compare_results(results_of(own), results_of(other - [1, 0])).classes["Dice"]
    assert [entry.p_holm for entry in entries] == pytest.approx(holm([entry.p for entry in entries]))
    assert entries[0].p_holm == pytest.approx(2 * entries[0].p)


def test_only_common_cases_are_compared_and_only_like_with_like():
    comparison = compare_results(results_of([0.5, 0.6, 0.7]), results_of([0.5, 0.6]))
    assert comparison.left_out == ("case_2",) and comparison.classes["Dice"][0].cases == 2
    assert "only one of them has it: case_2" in comparison_table(comparison, "x", "y")
    with pytest.raises(UserError, match="cannot be compared; evaluate both alike"):
        compare_results(results_of([0.5]), results_of([0.5], protocol=PAPER))
    with pytest.raises(UserError, match="no case in common"):
        compare_results(results_of([0.5]), replace(results_of([0.5]), cases=()))


def test_the_command_compares_two_folders(folders, tmp_path, capsys):
    predicted, truth = folders
    better = tmp_path / "better"
    better.mkdir()
    for case in ("case_1", "case_3"):
        (better / f"{case}.nii.gz").write_bytes((predicted / f"{case}.nii.gz").read_bytes())
    write(better / "case_2.nii.gz", {1: LIVER, 2: SPLEEN})
    assert main(["evaluate", str(better), str(truth), "-np", "1", "--compare", str(predicted), "-o", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.txt").read_text() in table
    lines = [line.split() for line in table.partition("Dice, mean of the cases")[2].splitlines()]
    spleen = next(line for line in lines if line[:1] == ["spleen"])
    assert spleen == ["spleen", "2", "1.000", "0.500", "+0.500", "0.000..1.000", "1", "0", "1", "1.000", "1.000"]
    assert ["spleen", "0", "1", "0", "0"] in lines
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert comparison["counts"]["spleen"]["missed"] == [0, 1] and comparison["B"] == str(predicted)
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert [(row["metric"], row["class"]) for row in rows][:3] == [("Dice", "liver"), ("Dice", "spleen"), ("Dice", "kidney")]
    assert not (predicted / "summary.json").exists() and not list((tmp_path / "out").glob("*.tmp"))

    # results without a comparison do not keep that of others beside them
    evaluate_folder(better, truth, output=tmp_path / "out", options=EvaluationOptions(num_processes=1, progress=False))
    assert not (tmp_path / "out" / "comparison.json").exists()
    with pytest.raises(UserError, match="these are the predictions themselves"):
        compare_folders(better, better, truth)
