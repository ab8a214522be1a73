"""A student: stock nnU-Net plans, preprocesses and trains on a completed dataset, and predicts without anything of ours."""

import json

import numpy as np
import pytest
import torch
from builders.completion import CASES, DATASET, Says, truth, write_dataset, write_teacher
from builders.merge import read
from builders.training import environment
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprint_dataset,
    plan_experiment_dataset,
    preprocess_dataset,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_cdpd.completion.run import complete_dataset
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
COMPLETED = "Dataset410_Parts_completed"
SHORT = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """nnU-Net's folders, with the completed dataset planned and preprocessed by stock nnU-Net; an organ of it is ignored."""
    folder = tmp_path_factory.mktemp("student")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (folder / name).mkdir()
        write_dataset(folder / "nnUNet_raw")
        Says(patch).plant("a00", "spleen", np.where(truth("a00")["spleen"], 0.6, 0.01))
        complete_dataset(400, [write_teacher(folder)], 410, num_processes=1, progress=False, report=print)
        extract_fingerprint_dataset(410, num_processes=1, check_dataset_integrity=True, show_progress_bar=False)
        patch.setenv("nnUNet_n_proc_DA", "1")  # nnU-Net plans with so many threads
        _, plans = plan_experiment_dataset(410)
        patch.setenv("nnUNet_n_proc_DA", "0")
        preprocess_dataset(410, plans, ["3d_fullres"], [1], show_progress_bar=False)
        yield folder


def trainer(root, kind):
    folder = root / "nnUNet_preprocessed" / COMPLETED
    plans = {**json.loads((folder / "nnUNetPlans.json").read_text()), "continue_training": False}
    dataset_json = json.loads((folder / "dataset.json").read_text())
    torch.manual_seed(0)
    made = kind(plans, "3d_fullres", 0, dataset_json, torch.device("cpu"))
    vars(made).update(SHORT)
    return made


def test_stock_nnunet_trains_and_predicts(root):
    student = trainer(root, nnUNetTrainer)
    student.run_training()
    assert np.isfinite(student.logger.get_value("train_losses", None)).all()
    assert not student.label_manager.has_regions and student.label_manager.ignore_label == 3
    weights = torch.load(f"{student.output_folder}/checkpoint_final.pth", weights_only=False)["network_weights"]
    assert not any("slice_encoder" in key or "modulation" in key for key in weights)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(student.output_folder_base, [0])
    image = str(root / "nnUNet_raw" / DATASET / "imagesTr" / f"{CASES[0]}_0000.nii.gz")
    array, properties = predictor.plans_manager.image_reader_writer_class().read_images([image])
    labels = predictor.predict_single_npy_array(array, properties)
    assert labels.shape == array.shape[1:] and labels.max() <= 2


def test_our_trainer_takes_it_as_a_dataset_in_which_everything_is_annotated(root):
    ours = trainer(root, nnUNetTrainerCDPD)
    ours.initialize()
    assert (ours.annotation.tables[:, :3] != 2).all() and (ours.annotation.tables[:, 3] == 2).all()
    batch = next(iter(ours.get_dataloaders()[0]))
    assert (batch["target"][0] == 3).any() or 3 in read(root / "nnUNet_raw" / COMPLETED / "labelsTr" / "a00.nii.gz")
    assert np.isfinite(ours.train_step(batch)["loss"])
