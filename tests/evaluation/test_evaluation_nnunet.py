"""The final validation's function on real files: annotated classes only, in nnU-Net's format."""

import math
import warnings
from functools import partial

import pytest
from builders.evaluation import DATASET_JSON, KIDNEY, LIVER, SPLEEN, write
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder, load_summary_json
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.annotation import read_annotation, with_sigmoid_heads
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.nnunet import compute_annotated_metrics_on_folder


def validate(predicted, truth, output, dataset_json=DATASET_JSON, **kwargs):
    annotation = read_annotation(dataset_json)
    labels = [label for name, label in dataset_json["labels"].items() if name != "background"]
    regions = [tuple(label) if isinstance(label, list) else label for label in labels]
    compute = partial(compute_annotated_metrics_on_folder, annotation=annotation)
    kwargs = {"num_processes": 1, **kwargs}
    return compute(str(truth), str(predicted), str(output), SimpleITKIO(), ".nii.gz", regions, None, **kwargs)


def test_final_validation_counts_annotated_classes_only(folders, tmp_path):
    output = tmp_path / "validation.json"
    result = validate(*folders, output)
    assert set(result["mean"]) == {1, 2, (3, 5), (4, 5), 6, KIDNEY}
    assert (result["mean"][1]["Dice"], result["mean"][2]["Dice"], result["mean"][KIDNEY]["Dice"]) == (1, 0.5, 1)
    assert math.isnan(result["mean"][(3, 5)]["Dice"]) and result["foreground_mean"]["Dice"] == pytest.approx((1 + 0.5 + 1) / 3)
    sources = result["cdpd"]["sources"]
    assert [sources[name]["cases"] for name in "ABC"] == [2, 1, 0]
    assert [sources[name]["foreground_mean"]["Dice"] for name in "AB"] == [0.75, 1]
    assert sources["A"]["classes"]["spleen"]["Dice"] == 0.5 and sources["A"]["classes"]["colon"] == "not annotated"
    assert sources["B"]["classes"]["kidney"]["Dice"] == 1 and math.isnan(sources["C"]["foreground_mean"]["Dice"])
    read = load_summary_json(str(output))
    assert set(read["mean"]) == set(result["mean"]) and math.isnan(read["mean"][6]["Dice"])
    assert read["metric_per_case"][2]["metrics"][KIDNEY]["n_ref"] == 8
    assert all(set(case["metrics"]) == set(result["mean"]) for case in read["metric_per_case"])
    validate(*folders, tmp_path / "two_processes.json", num_processes=2)
    assert (tmp_path / "two_processes.json").read_bytes() == output.read_bytes()


def test_final_validation_on_a_plain_dataset_gets_nnunets_numbers(folders, tmp_path):
    predicted, truth = folders
    labels = {f"class_{value}": value for value in range(1, 7)}
    dataset_json = with_sigmoid_heads({"labels": {"background": 0, **labels}, "file_ending": ".nii.gz"})
    ours = validate(predicted, truth, tmp_path / "ours.json", dataset_json)
    regions = list(ours["mean"])
    assert regions == [(value, value) for value in range(1, 7)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nnU-Net's mean of nothing
        host = compute_metrics_on_folder(str(truth), str(predicted), None, SimpleITKIO(), ".nii.gz", regions, None, 1)
    for region in regions:
        assert ours["mean"][region] == pytest.approx(host["mean"][region], nan_ok=True)
        for mine, its in zip(ours["metric_per_case"], host["metric_per_case"]):
            assert mine["metrics"][region] == pytest.approx(its["metrics"][region], nan_ok=True)


def test_plain_labels_keep_their_values_in_any_order(folders, tmp_path):
    """nnU-Net lists plain labels by value, whatever their order in dataset.json."""
    predicted, truth = folders
    names = [f"class_{value}" for value in (2, 1, 3, 4, 5, 6)]
    labels = {"background": 0, **{name: int(name[-1]) for name in names}}
    annotation = read_annotation({"labels": labels})
    ours = compute_annotated_metrics_on_folder(
        str(truth), str(predicted), None, SimpleITKIO(), ".nii.gz", [1, 2, 3, 4, 5, 6], num_processes=1, annotation=annotation
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        host = compute_metrics_on_folder(str(truth), str(predicted), None, SimpleITKIO(), ".nii.gz", [1, 2, 3, 4, 5, 6], None, 1)
    assert [ours["mean"][value]["Dice"] for value in (1, 2)] == [host["mean"][value]["Dice"] for value in (1, 2)]
    assert host["mean"][1]["Dice"] != host["mean"][2]["Dice"]


def test_final_validation_takes_an_undeclared_value_for_background_as_the_training_did(folders, tmp_path):
    predicted, truth = folders
    write(truth / "case_1.nii.gz", {1: LIVER, 2: SPLEEN})
    dataset_json = {
        "labels": {"background": 0, "liver": [1, 5], "kidneys": [4, 5], "colon": [3, 6]}, "regions_class_order": [1, 4, 3],
        "file_ending": ".nii.gz", "channel_names": {"0": "CT"},
    }  # fmt: skip
    assert validate(predicted, truth, tmp_path / "validation.json", dataset_json)["mean"][(1, 5)]["n_ref"] > 0


def test_unions_that_no_source_is_scored_on_are_left_out(folders, tmp_path):
    """Tumors of sources that do not annotate the organs: nothing tells of the organs together."""
    names = ("liver", "right_lung", "left_lung", "lung_tumor", "right_kidney", "left_kidney", "kidney_tumor")
    labels = {name: value for value, name in enumerate(names, start=1)}
    parents = {"lung_tumor": ["right_lung", "left_lung"], "kidney_tumor": ["right_kidney", "left_kidney"]}
    organs = [name for name in labels if not name.endswith("tumor")]
    sources = {"ORGANS": {"annotated_classes": organs}, "LUNG": {"annotated_classes": ["lung_tumor"]}}
    dataset_json = with_sigmoid_heads({"labels": {"background": 0, **labels}, "file_ending": ".nii.gz"})
    dataset_json["cdpd"] = {
        "version": 1, "sources": {**sources, "KIDNEY": {"annotated_classes": ["kidney_tumor"]}}, "possible_parents": parents,
        "case_source": dict.fromkeys(("case_1", "case_2", "case_3"), "ORGANS"),
    }  # fmt: skip
    annotation = read_annotation(dataset_json)
    assert annotation.column_names[7:] == ("right_lung or left_lung", "right_kidney or left_kidney")
    result = validate(*folders, tmp_path / "validation.json", dataset_json)
    assert set(result["mean"]) == {(value, value) for value in labels.values()}


def test_final_validation_refuses_what_it_cannot_score(folders, tmp_path):
    predicted, truth = folders
    with pytest.raises(ValueError, match="1 regions or labels for the 5 classes"):
        compute_annotated_metrics_on_folder(
            str(truth), str(predicted), None, SimpleITKIO(), ".nii.gz", [1], num_processes=1,
            annotation=read_annotation(DATASET_JSON),
        )  # fmt: skip
    (predicted / "case_2.nii.gz").unlink()
    with pytest.raises(UserError, match="no prediction for case_2"):
        validate(predicted, truth, tmp_path / "x.json", chill=False)
    write(predicted / "case_3.nii.gz", {}, shape=(4, 7, 8))
    with pytest.raises(UserError, match="case 'case_3': shape"):
        validate(predicted, truth, tmp_path / "x.json")
