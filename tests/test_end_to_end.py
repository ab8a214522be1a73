"""The main job through the commands that a user types: merge, plan, preprocess, train, continue, predict, evaluate."""

import copy
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import dataset as tiny_dataset
from nnunetv2.evaluation.evaluate_predictions import load_summary_json
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

TRAINER, PLANS = "nnUNetTrainerCDPDSmall_1epoch", "nnUNetCDPDSmallPlans"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Raw datasets, and an environment as a user has it: nnU-Net's variables, none of ours but the explicit choices."""
    root = tmp_path_factory.mktemp("end_to_end")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CDPD_", "nnUNet_"))}
    env.update({name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")})
    # small machine: no pools of eight processes that import torch each; no internet
    env.update(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="0", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir()
    for dataset in tiny_dataset.SOURCES:
        tiny_dataset.write_raw_dataset(root / "nnUNet_raw", dataset, num_cases=4)
    tiny_dataset.write_test_set(root / "unseen")
    (root / "merge.yaml").write_text(tiny_dataset.SPEC)
    return root, env


def run(workspace, *command, expect=0, **extra_env):
    root, env = workspace
    result = subprocess.run(
        [str(part) for part in command], env={**env, **extra_env}, cwd=root, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == expect, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def trained(workspace):
    """The model folder after merge, plan_and_preprocess and one short epoch with its final validation."""
    root, _ = workspace
    run(
        workspace,
        "cdpd",
        "merge",
        "-d",
        "811",
        "812",
        "813",
        "--id",
        "820",
        "--name",
        "Tiny",
        "--spec",
        root / "merge.yaml",
        "-np",
        "1",
    )
    run(
        workspace, "nnUNetv2_plan_and_preprocess", "-d", "820", "-pl", "nnUNetPlannerCDPDSmall", "-c", "3d_fullres",
        "-np", "1", "-npfp", "1", "--verify_dataset_integrity", CDPD_VISION_ENCODER="dinov2-small",
    )  # fmt: skip
    train = ("nnUNetv2_train", "820", "3d_fullres", "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu")
    run(workspace, *train, CDPD_VISION_WEIGHTS="random", CDPD_TEXT_WEIGHTS="learned")
    return root / "nnUNet_results" / "Dataset820_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres"


def test_training_without_weights_ends_in_one_error_that_lists_the_ways_out(workspace, trained):
    def last_line(fold, trainer):
        command = ("nnUNetv2_train", "820", "3d_fullres", fold, "-tr", trainer, "-p", PLANS, "-device", "cpu")
        return run(workspace, *command, expect=1).strip().splitlines()[-1]

    # Beside a fold that was trained by other choices they are what is told.
    assert re.search(r"fold_0: trained with another network .*\(text: encoder\)", last_line("1", TRAINER))
    last = last_line("0", "nnUNetTrainerCDPDSmall")
    assert "no pretrained weights of vit_small_patch14_dinov2" in last
    assert "CDPD_VISION_WEIGHTS=random" in last


def test_checkpoint_holds_all_that_prediction_needs(trained):
    checkpoint = torch.load(trained / "fold_0" / "checkpoint_final.pth", weights_only=False)
    weights = checkpoint["network_weights"]
    assert any(key.startswith("slice_encoder.vit.") for key in weights)
    assert bool(weights["slice_encoder.weights_set"])
    assert bool(weights["class_text.embeddings_set"])
    plans = json.loads((trained / "plans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] == "nnunetv2_cdpd.network.CDPDNet"


def test_stock_preprocessing_resamples_by_our_function_where_plans_name_it(workspace, trained, tmp_path):
    root, _ = workspace
    preprocessed = tmp_path / "Dataset820_Tiny"
    shutil.copytree(root / "nnUNet_preprocessed" / "Dataset820_Tiny", preprocessed)
    plans = json.loads((preprocessed / f"{PLANS}.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration["spacing"] = [1.1 * mm for mm in configuration["spacing"]]
    hosts = PlansManager(copy.deepcopy(plans))
    configuration["resampling_fn_data"] = "cdpd_resample_by_axis"
    (preprocessed / "nnUNetFastPlans.json").write_text(json.dumps(plans | {"plans_name": "nnUNetFastPlans"}))
    command = ("nnUNetv2_preprocess", "-d", "820", "-plans_name", "nnUNetFastPlans", "-c", "3d_fullres", "-np", "2", "--verbose")
    output = run(workspace, *command, nnUNet_preprocessed=str(tmp_path))
    assert "fn_data: functools.partial(<function cdpd_resample_by_axis" in output
    raw, dataset_json = root / "nnUNet_raw" / "Dataset820_Tiny", json.loads((preprocessed / "dataset.json").read_text())
    preprocessor = DefaultPreprocessor(verbose=False)
    for case, files in get_filenames_of_train_images_and_targets(str(raw), dataset_json).items():
        managers = hosts, hosts.get_configuration("3d_fullres")
        data, seg, _ = preprocessor.run_case(files["images"], files["label"], *managers, dataset_json)
        found = preprocessed / configuration["data_identifier"]
        found_data, found_seg = (blosc2.open(str(found / f"{case}{part}.b2nd"))[:] for part in ("", "_seg"))
        assert np.array_equal(found_seg, seg)
        assert 0 < np.abs(found_data - data).max() <= 1e-5 * np.ptp(data)


def test_final_validation_counts_annotated_classes_only(trained):
    summary = load_summary_json(trained / "fold_0" / "validation" / "summary.json")
    dataset = json.loads((trained / "dataset.json").read_text())
    sources = dataset["cdpd"]["case_source"]
    liver, tumor = (tuple(np.atleast_1d(dataset["labels"][name]).tolist()) for name in ("liver", "liver_tumor"))
    for case in summary["metric_per_case"]:
        identifier = Path(case["reference_file"]).name.removesuffix(".nii.gz")
        dice = {tuple(np.atleast_1d(key).tolist()): metrics["Dice"] for key, metrics in case["metrics"].items()}
        for region in (liver, tumor):  # a class that the source does not annotate shows as such, not as 0
            assert math.isnan(dice[region]) == (sources[identifier] != "Liver")
    assert (trained / "fold_0" / "progress.png").is_file()


def test_log_tells_about_mirroring_and_weights(trained):
    (log,) = (trained / "fold_0").glob("training_log_*.txt")
    text = log.read_text()
    assert "No mirroring" in text
    assert "random initialisation of vit_small_patch14_dinov2" in text


def test_prediction_needs_neither_task_nor_dataset_json_nor_internet_nor_training_data(workspace, trained, tmp_path):
    root, env = workspace
    model = shutil.copytree(trained, tmp_path / "model")
    images = shutil.copytree(root / "unseen" / "imagesTs", tmp_path / "images")
    output = tmp_path / "predictions"
    bare = {**env, "nnUNet_raw": "", "nnUNet_preprocessed": "", "nnUNet_results": ""}
    command = ["nnUNetv2_predict_from_modelfolder", "-i", images, "-o", output, "-m", model, "-f", "0", "-device", "cpu"]
    result = subprocess.run([str(part) for part in command], env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    for image_file in images.iterdir():
        image = sitk.ReadImage(str(image_file))
        prediction = sitk.ReadImage(str(output / image_file.name.replace("_0000", "")))
        for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(prediction, what)() == pytest.approx(getattr(image, what)())


def test_predict_and_evaluate_by_name_of_class(workspace, trained):
    root, _ = workspace
    unseen = root / "unseen"
    run(
        workspace, "nnUNetv2_predict", "-i", unseen / "imagesTs", "-o", root / "predicted", "-d", "820", "-c", "3d_fullres",
        "-tr", TRAINER, "-p", PLANS, "-f", "0", "-device", "cpu",
    )  # fmt: skip
    output = run(workspace, "cdpd", "evaluate", root / "predicted", unseen / "labelsTs")
    for name in tiny_dataset.STRUCTURES:
        assert name in output
    summary = json.loads((root / "predicted" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    assert all(0 <= mean["Dice"] <= 1 for mean in summary["mean"].values())


def test_continued_training_needs_no_weights_and_no_choices(workspace, trained):
    """The final checkpoint is there, so --c has nothing to train and validates; the network must be the recorded one."""
    train = ("nnUNetv2_train", "820", "3d_fullres", "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu", "--c")
    output = run(workspace, *train)
    assert "Mean Validation Dice" in output
    plans = json.loads((trained / "plans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["text"]["encoder"] == "learned"


@pytest.mark.slow
def test_stock_plans_train_too(workspace, trained):
    """nnUNetPlans of nnU-Net's own planner, verbatim from the README, with a 2D configuration to be quick."""
    root, _ = workspace
    # nnU-Net sets this many threads while it plans, and refuses 0
    run(workspace, "nnUNetv2_plan_and_preprocess", "-d", "820", "-c", "2d", "-np", "1", "--clean", nnUNet_n_proc_DA="1")
    plans_file = root / "nnUNet_preprocessed" / "Dataset820_Tiny" / "nnUNetPlans.json"
    plans = json.loads(plans_file.read_text())
    plans["configurations"]["2d"]["batch_size"] = 2
    plans_file.write_text(json.dumps(plans))
    run(
        workspace, "nnUNetv2_train", "820", "2d", "0", "-tr", TRAINER, "-device", "cpu",
        CDPD_VISION_WEIGHTS="random", CDPD_TEXT_WEIGHTS="learned",
    )  # fmt: skip
    model = root / "nnUNet_results" / "Dataset820_Tiny" / f"{TRAINER}__nnUNetPlans__2d"
    summary = load_summary_json(model / "fold_0" / "validation" / "summary.json")
    assert not math.isnan(summary["foreground_mean"]["Dice"])
