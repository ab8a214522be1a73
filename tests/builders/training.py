"""nnU-Net's folders with tiny preprocessed datasets, and trainers on them, for tests that train in this process."""

import json
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, preprocess_dataset

from builders import dataset as tiny_dataset
from nnunetv2_cdpd.merge import merge_datasets
from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch

MERGED, PLAIN = "Dataset820_Tiny", "Dataset813_Organs"
PLANS = "nnUNetCDPDSmallPlans"
TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 2, "num_heads": 2}}
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def environment(root):
    """Variables of nnU-Net and ours for training on a small machine without the internet."""
    return {
        **{name: str(root / name) for name in FOLDERS},
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
        "CDPD_VISION_WEIGHTS": "random",
        "CDPD_TEXT_WEIGHTS": "learned",
    }


@contextmanager
def training_folders(root, datasets=(820, 813), num_cases=5):
    """The merged tiny dataset (820) and a plain one (813), planned and preprocessed for 3d_fullres; sets the environment."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in environment(root).items():
            patch.setenv(name, value)
        for name in FOLDERS:
            (root / name).mkdir()
        for dataset in tiny_dataset.SOURCES:
            tiny_dataset.write_raw_dataset(root / "nnUNet_raw", dataset, num_cases=num_cases)
        (root / "merge.yaml").write_text(tiny_dataset.SPEC)
        merge_datasets(["811", "812", "813"], 820, "Tiny", spec=root / "merge.yaml", num_processes=1, progress=False)
        for dataset_id in datasets:
            plan_and_preprocess(dataset_id)
        yield root


def plan_and_preprocess(dataset_id):
    """Plans of the small planner with a tiny ViT, for 3d_fullres; in this process."""
    extract_fingerprint_dataset(dataset_id, num_processes=1, show_progress_bar=False)
    planner = nnUNetPlannerCDPDSmall(dataset_id)
    planner.network_settings = replace(planner.network_settings, vision_encoder="dinov2-small")
    plans = planner.plan_experiment()
    configuration = plans["configurations"]["3d_fullres"]
    make_tiny(configuration["architecture"]["arch_kwargs"]["vision"])
    configuration["batch_size"] = 2
    planner.save_plans(plans)
    preprocess_dataset(dataset_id, planner.plans_identifier, ["3d_fullres"], [1], show_progress_bar=False)


def make_tiny(vision):
    """The entry of planned vision tokens, with a tiny ViT, under its own name and statistics."""
    for key in ("encoder", "mean", "std"):
        del vision[key]
    vision.update(TINY_VIT)


def make_trainer(
    root,
    dataset=MERGED,
    resume=False,
    trainer_class=nnUNetTrainerCDPDSmall_1epoch,
    configuration="3d_fullres",
    fold=0,
    plans=PLANS,
    **changes,
):
    """A trainer as nnUNetv2_train makes it, on the CPU, with attributes changed; everything random is seeded."""
    folder = root / "nnUNet_preprocessed" / dataset
    plans = json.loads((folder / f"{plans}.json").read_text())
    plans["continue_training"] = resume
    dataset_json = json.loads((folder / "dataset.json").read_text())
    torch.manual_seed(0)
    np.random.seed(0)
    trainer = trainer_class(plans, configuration, fold, dataset_json, torch.device("cpu"))
    vars(trainer).update(changes)
    return trainer
