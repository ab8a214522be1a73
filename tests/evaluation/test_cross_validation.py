"""`cdpd accumulate` and `cdpd find-best`: nnU-Net's commands, each case scored on what its source annotates."""

import json
import shutil
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.evaluation import accumulate_cv_results, find_best_configuration
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder, load_summary_json
from nnunetv2.postprocessing import remove_connected_components

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.cross_validation import _compute_metrics_on_folder, annotated_metrics

DATASET, PLANS = "Dataset400_X", "nnUNetCDPDPlans"
SHAPE, SPACING = (4, 7, 9), (0.8, 1.25, 3.0)  # z, y, x and x, y, z
LIVER, SPLEEN = np.s_[1:3, 1:4, 1:5], np.s_[0:2, 5:7, 6:9]
DATASET_JSON = {
    "channel_names": {"0": "CT"},
    "file_ending": ".nii.gz",
    "labels": {"background": 0, "liver": [1, 1], "spleen": [2, 2]},
    "regions_class_order": [1, 2],
    "cdpd": {
        "version": 1,
        "sources": {"A": {"annotated_classes": ["liver"]}, "B": {"annotated_classes": ["spleen"]}},
        "case_source": {"case_1": "A", "case_2": "B"},
    },
}
CONFIGURATION = {
    "data_identifier": "x",
    "patch_size": [4, 7, 9],
    "architecture": {"network_class_name": "x.Net", "arch_kwargs": {}, "_kw_requires_import": []},
}
PLANS_JSON = {
    "dataset_name": DATASET,
    "plans_name": PLANS,
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "configurations": {"3d_fullres": CONFIGURATION, "2d": CONFIGURATION},
}


def write(path, boxes):
    array = np.zeros(SHAPE, np.uint8)
    for value, box in boxes.items():
        array[box] = value
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def model(nnunet_folders):
    """Two folds of two configurations: 3d_fullres finds everything, 2d misses the liver of case_1."""
    reference = nnunet_folders.preprocessed / DATASET
    write_json(reference / "dataset.json", DATASET_JSON)
    write_json(reference / f"{PLANS}.json", PLANS_JSON)
    write(reference / "gt_segmentations" / "case_1.nii.gz", {1: LIVER})
    write(reference / "gt_segmentations" / "case_2.nii.gz", {2: SPLEEN})
    for configuration, first in (("3d_fullres", {1: LIVER, 2: SPLEEN}), ("2d", {2: SPLEEN})):
        folder = nnunet_folders.results / DATASET / f"nnUNetTrainerCDPD__{PLANS}__{configuration}"
        write_json(folder / "dataset.json", DATASET_JSON)
        write_json(folder / "plans.json", PLANS_JSON)
        write(folder / "fold_0" / "validation" / "case_1.nii.gz", first)
        write(folder / "fold_1" / "validation" / "case_2.nii.gz", {1: LIVER, 2: SPLEEN})
    return nnunet_folders.results / DATASET


def test_accumulated_folds_are_scored_on_annotated_classes(model):
    assert main(["accumulate", "400", "-c", "3d_fullres", "-p", PLANS, "-f", "0", "1"]) == 0
    folder = model / f"nnUNetTrainerCDPD__{PLANS}__3d_fullres" / "crossval_results_folds_0_1"
    summary = load_summary_json(str(folder / "summary.json"))
    assert summary["foreground_mean"]["Dice"] == 1  # the spleen of case_1 is predicted, and nobody looked for it there
    assert {case["source"] for case in summary["metric_per_case"]} == {"A", "B"}


def test_nnunets_own_command_runs_and_takes_the_rest_for_absent(model, monkeypatch):
    monkeypatch.setattr(accumulate_cv_results, "compute_metrics_on_folder", one_process)
    arguments = ["400", "-c", "3d_fullres", "-p", PLANS, "-f", "0", "1", "-tr", "nnUNetTrainerCDPD"]
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_accumulate_crossval_results", *arguments])
    find_best_configuration.accumulate_crossval_results_entry_point()
    folder = model / f"nnUNetTrainerCDPD__{PLANS}__3d_fullres" / "crossval_results_folds_0_1"
    assert load_summary_json(str(folder / "summary.json"))["foreground_mean"]["Dice"] == 0.5


def one_process(*args):
    return compute_metrics_on_folder(*args[:7], 1)


def test_best_configuration_is_found_by_annotated_classes(model, capsys):
    """nnU-Net's own scores would be 0.5 for both; its postprocessing is chosen by the same scores."""
    arguments = ["400", "-c", "2d", "3d_fullres", "-p", PLANS, "-f", "0", "1", "-np", "1", "--disable_ensembling"]
    assert main(["find-best", *arguments]) == 0
    output = capsys.readouterr().out
    assert f"*Best*: nnUNetTrainerCDPD__{PLANS}__3d_fullres: 1.0" in output
    information = json.loads((model / "inference_information.json").read_text())
    assert information["all_results"] == {
        f"nnUNetTrainerCDPD__{PLANS}__2d": 0.5,  # mean of liver 0 and spleen 1
        f"nnUNetTrainerCDPD__{PLANS}__3d_fullres": 1.0,
    }
    assert information["best_model_or_ensemble"]["result_on_crossval_post_pp"] == 1.0
    assert "-tr nnUNetTrainerCDPD" in (model / "inference_instructions.txt").read_text()


def test_nnunets_function_is_back_afterwards():
    modules = (accumulate_cv_results, find_best_configuration, remove_connected_components)
    with annotated_metrics():
        assert all(module.compute_metrics_on_folder is _compute_metrics_on_folder for module in modules)
    assert all(module.compute_metrics_on_folder is compute_metrics_on_folder for module in modules)


def test_references_without_a_dataset_json_are_named(model, nnunet_folders):
    reference = nnunet_folders.preprocessed / DATASET
    (reference / "dataset.json").unlink()
    with pytest.raises(UserError, match="dataset.json: no such file"):
        _compute_metrics_on_folder(str(reference / "gt_segmentations") + "/", "x", None, None, ".nii.gz", [])
    shutil.rmtree(reference)
