"""What nnUNetv2_train can be asked for besides a plain training, with our trainer: --val, --npz, -pretrained_weights, cascade."""

import json
import os

import numpy as np
import pytest
import torch
from builders.training import MERGED, PLAIN, PLANS, make_trainer
from nnunetv2.evaluation.evaluate_predictions import load_summary_json
from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset
from nnunetv2.run.run_training import run_training

from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch

TRAINER = "nnUNetTrainerCDPDSmall_1epoch"
pytestmark = pytest.mark.slow


def train(dataset="820", configuration="3d_fullres", fold=0, **options):
    """nnUNetv2_train in this process; the trainer is found through the folder of `cdpd link --path`."""
    run_training(dataset, configuration, fold, TRAINER, PLANS, device=torch.device("cpu"), **options)


@pytest.fixture(scope="module")
def trained(folders):
    """The fold's folder after a training with --npz."""
    with pytest.MonkeyPatch.context() as patch:
        from nnunetv2.run import run_training as module

        patch.setattr(module, "recursive_find_trainer_class_by_name", lambda name: nnUNetTrainerCDPDSmall_1epoch)
        train(export_validation_probabilities=True)
        yield folders / "nnUNet_results" / MERGED / f"{TRAINER}__{PLANS}__3d_fullres" / "fold_0"


def validated_cases(folders, dataset=MERGED):
    return json.loads((folders / "nnUNet_preprocessed" / dataset / "splits_final.json").read_text())[0]["val"]


def test_npz_holds_a_probability_of_every_class(folders, trained):
    cases = validated_cases(folders)
    trainer = make_trainer(folders)
    for case in cases:
        probabilities = np.load(trained / "validation" / f"{case}.npz")["probabilities"]
        assert probabilities.shape[0] == len(trainer.annotation.classes)
        assert probabilities.min() >= 0 and probabilities.max() <= 1


def test_log_and_picture_tell_the_pseudo_dice_of_each_source(trained):
    (log, *_) = sorted(trained.glob("training_log_*.txt"))
    for source in ("Liver", "Kidney", "Organs"):
        assert f"Pseudo dice of source {source}: " in log.read_text()
    checkpoint = torch.load(trained / "checkpoint_final.pth", weights_only=False)
    assert len(checkpoint["logging"]["pseudo_dice_of_source/Liver"]) == 1
    assert (trained / "progress.png").stat().st_size > 0


def test_validation_alone_gives_the_same_scores_and_needs_no_weights(trained, monkeypatch):
    monkeypatch.delenv("CDPD_VISION_WEIGHTS")
    monkeypatch.delenv("CDPD_TEXT_WEIGHTS")
    before = load_summary_json(str(trained / "validation" / "summary.json"))
    (trained / "validation" / "summary.json").unlink()
    changed = os.path.getmtime(trained / "checkpoint_final.pth")
    train(only_run_validation=True)
    after = load_summary_json(str(trained / "validation" / "summary.json"))
    assert after["mean"].keys() == before["mean"].keys()
    np.testing.assert_equal(after["mean"], before["mean"])
    assert os.path.getmtime(trained / "checkpoint_final.pth") == changed


def test_pretrained_weights_of_the_same_classes_start_a_training(folders, trained, monkeypatch):
    monkeypatch.delenv("CDPD_VISION_WEIGHTS")  # the checkpoint holds the encoders' weights
    checkpoint = trained / "checkpoint_final.pth"
    monkeypatch.setattr(nnUNetTrainerCDPDSmall_1epoch, "run_training", lambda self: started.append(self))
    monkeypatch.setattr(nnUNetTrainerCDPDSmall_1epoch, "perform_actual_validation", lambda self, npz: None)
    started = []
    train(fold=1, pretrained_weights=str(checkpoint))
    weights = torch.load(checkpoint, weights_only=False)["network_weights"]
    state = started[0].cdpdnet.state_dict()
    assert all(torch.equal(state[key], weights[key]) for key in weights if ".seg_layers." not in key)
    started[0].on_train_start()  # reads no vision weights


def test_pretrained_weights_of_other_classes_are_refused_by_nnunet_with_the_reason(folders, trained):
    with pytest.raises(AssertionError, match="does not seem to be compatible with your network"):
        train(dataset="813", pretrained_weights=str(trained / "checkpoint_final.pth"))


def plan_cascade(folders):
    """3d_lowres and 3d_cascade_fullres beside 3d_fullres, in the same plans."""
    path = folders / "nnUNet_preprocessed" / MERGED / f"{PLANS}.json"
    plans = json.loads(path.read_text())
    fullres = plans["configurations"]["3d_fullres"]
    spacing = [1.5 * value for value in fullres["spacing"]]
    plans["configurations"]["3d_lowres"] = {
        **fullres, "data_identifier": f"{PLANS}_3d_lowres", "spacing": spacing, "next_stage": "3d_cascade_fullres",
    }  # fmt: skip
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    path.write_text(json.dumps(plans))
    preprocess_dataset(820, PLANS, ["3d_lowres"], [1], show_progress_bar=False)


def test_cascade_trains_on_the_segmentations_of_the_stage_before(folders, trained):
    plan_cascade(folders)
    train(configuration="3d_lowres", fold="all")  # predicts every case for the next stage
    trainer = make_trainer(folders, configuration="3d_cascade_fullres", fold="all")
    trainer.on_train_start()
    num_labels = len(trainer.label_manager.foreground_labels)
    batch = next(trainer.dataloader_train)
    assert batch["data"].shape[1] == 1 + num_labels
    assert set(np.unique(batch["data"][:, 1:])) <= {0, 1}
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    assert np.isfinite(trainer.train_step(batch)["loss"])
    train(configuration="3d_cascade_fullres", fold="all")
    model = folders / "nnUNet_results" / MERGED / f"{TRAINER}__{PLANS}__3d_cascade_fullres" / "fold_all"
    summary = load_summary_json(str(model / "validation" / "summary.json"))
    assert len(summary["metric_per_case"]) == 15


def test_ignore_label_trains(folders):
    """A plain dataset whose cases are annotated in part of the image only."""
    preprocessed = folders / "nnUNet_preprocessed" / PLAIN
    path = preprocessed / "dataset.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "labels": {**content["labels"], "ignore": 4}}))
    try:
        trainer = make_trainer(folders, PLAIN)
        assert trainer.label_manager.has_ignore_label
        trainer.initialize()
        logits = [torch.zeros(1, 3, 4, 4, 4, requires_grad=True) for _ in trainer.loss.weights]
        ignored = [torch.full((1, 1, 4, 4, 4), 4, dtype=torch.int16) for _ in logits]
        loss = trainer.loss(logits, [*ignored, torch.tensor([0])])
        assert loss.item() == 0
    finally:
        path.write_text(json.dumps(content))
