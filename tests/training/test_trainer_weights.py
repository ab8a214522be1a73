"""Weights of a training: those that it starts from, the checkpoints that it keeps, and how it goes on from them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.pretraining import tiny_pretraining, write_cts
from builders.training import MERGED, make_trainer
from nnunetv2.run.run_training import maybe_load_checkpoint
from safetensors.torch import load_file

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planning.architecture import dataset_prompts
from nnunetv2_cdpd.pretrained.kept_embeddings import TextEmbeddings
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch


def test_network_without_task_prompts_takes_the_embeddings_of_one_with_them(folders, tmp_path, monkeypatch):
    class NoTaskPrompt(nnUNetTrainerCDPDSmall_1epoch):
        recipe = nnUNetTrainerCDPDSmall_1epoch.recipe.with_network(task_prompts=False)

    annotation = read_annotation(json.loads((folders / "nnUNet_preprocessed" / MERGED / "dataset.json").read_text()))
    prompts = [tuple(some) for some in dataset_prompts(annotation)]
    width = NoTaskPrompt.recipe.network.text_embed_dim
    made = TextEmbeddings(*(torch.randn(len(some), width) for some in prompts), *prompts, "ViT-B-32/openai")
    made.save(tmp_path / "ready.safetensors")
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", str(tmp_path / "ready.safetensors"))
    trainer = make_trainer(folders, trainer_class=NoTaskPrompt)
    trainer.on_train_start()
    assert trainer.cdpdnet.task_text is None
    assert torch.equal(trainer.cdpdnet.class_text.embeddings, made.class_embeddings)


def test_a_pretrained_slice_encoder_is_read_and_told(folders, tmp_path, monkeypatch):
    """Of CDPD_VISION_WEIGHTS, as `cdpd pretrain` writes it for the ViT of the plans."""
    write_cts(tmp_path / "cts")
    tiny_pretraining(tmp_path / "vit.safetensors", tmp_path / "cts")
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", str(tmp_path / "vit.safetensors"))
    trainer = make_trainer(folders)
    trainer.on_train_start()
    weights = load_file(tmp_path / "vit.safetensors")
    vit = trainer.cdpdnet.slice_encoder.vit.state_dict()
    assert weights.keys() == vit.keys() and all(torch.equal(value, vit[key]) for key, value in weights.items())
    assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    vision = json.loads(trainer.provenance)["weights"][0]
    assert (vision["kind"], len(vision["sha256"])) == ("file", 64)
    assert vision["pretraining"].startswith("pretrained without labels (DINOv2") and str(tmp_path) not in trainer.provenance


def test_encoder_that_is_named_outside_of_the_plans_is_trained_with_and_kept(folders, monkeypatch, tmp_path):
    class Named(nnUNetTrainerCDPDSmall_1epoch):  # its folder is its own
        pass

    (tmp_path / "my_ct.yaml").write_text("{model: vit_tiny_patch16_224, unit: HU, mean: 0, std: 100, window: [-200, 300]}")
    monkeypatch.setenv("CDPD_VISION_ENCODER", str(tmp_path / "my_ct.yaml"))
    trainer = make_trainer(folders, trainer_class=Named)
    trainer.on_train_start()
    encoder = trainer.cdpdnet.slice_encoder
    assert encoder.weights_name == "my_ct" and encoder.mean.tolist() == pytest.approx([0.4] * 3)
    assert json.loads(trainer.provenance)["weights"][0]["name"] == "my_ct"
    trainer.save_checkpoint(os.path.join(trainer.output_folder, "checkpoint_latest.pth"))
    monkeypatch.delenv("CDPD_VISION_ENCODER")
    again = make_trainer(folders, resume=True, trainer_class=Named)  # --c, where nothing is named any more
    assert again.configuration_manager.network_arch_init_kwargs["vision"]["encoder"] == "my_ct"


def test_first_epoch_without_anything_to_count_does_not_keep_the_best_checkpoint(folders):
    trainer = make_trainer(folders, save_every=50)
    saved = []
    trainer.save_checkpoint = lambda path: saved.append(os.path.basename(path))
    trainer.logger.plot_progress_png = lambda folder: None
    for epoch, mean in enumerate([np.nan, 0.5]):
        for key in ("epoch_start_timestamps", "train_losses", "val_losses", "mean_fg_dice"):
            trainer.logger.log(key, mean, epoch)
        trainer.logger.log("dice_per_class_or_region", [mean], epoch)
        trainer.on_epoch_end()
    assert saved == ["checkpoint_best.pth"] * 2 and trainer._best_ema == 0.5


def test_resumed_training_goes_on_where_it_stopped_without_weights_or_choices(folders, monkeypatch):
    class TwoEpochs(nnUNetTrainerCDPDSmall_1epoch):
        recipe = replace(nnUNetTrainerCDPDSmall_1epoch.recipe, num_epochs=2, save_every=1)

    trainer = make_trainer(folders, trainer_class=TwoEpochs)
    monkeypatch.setattr(trainer, "on_train_end", lambda: None)
    trainer.num_epochs = 2
    stop = trainer.on_epoch_end

    def on_epoch_end():
        stop()
        raise KeyboardInterrupt  # after the first epoch and its checkpoint

    monkeypatch.setattr(trainer, "on_epoch_end", on_epoch_end)
    with pytest.raises(KeyboardInterrupt):
        trainer.run_training()

    monkeypatch.delenv("CDPD_VISION_WEIGHTS", raising=False)
    monkeypatch.delenv("CDPD_TEXT_WEIGHTS", raising=False)
    resumed = make_trainer(folders, resume=True, trainer_class=TwoEpochs)
    resumed.load_checkpoint(os.path.join(resumed.output_folder, "checkpoint_latest.pth"))
    assert resumed.current_epoch == 1
    assert resumed.configuration_manager.network_arch_init_kwargs["text"]["encoder"] == "learned"
    for (name, before), after in zip(trainer.network.state_dict().items(), resumed.network.state_dict().values()):
        assert torch.equal(before, after), name
    resumed.run_training()
    assert resumed.current_epoch == 2
    assert os.path.isfile(os.path.join(resumed.output_folder, "checkpoint_final.pth"))
    card = json.loads(Path(resumed.output_folder_base, "cdpd_card.json").read_text())
    assert [entry["origin"].split(",")[0] for entry in card["weights"]] == ["random", "learned with the network"]  # of the start
    assert {"torch", "nnunetv2"} <= {package["name"] for package in card["made_with"]["packages"]}
    trained = dict(resumed.network.named_parameters())
    assert any(not torch.equal(p, trained[n]) for n, p in trainer.network.named_parameters() if p.requires_grad)
    assert all(torch.equal(p, trained[n]) for n, p in trainer.network.named_parameters() if not p.requires_grad)


def test_a_torn_checkpoint_does_not_block_a_continued_training(folders, capsys):
    """As `nnUNetv2_train --c` does it, after kills at bad moments."""
    trainer = make_trainer(folders, fold=1)
    trainer.initialize()
    os.makedirs(trainer.output_folder, exist_ok=True)
    trainer.logger.load_checkpoint({**trainer.logger.get_checkpoint(), "mean_fg_dice": [0.5]})
    for epoch, name in enumerate(("best", "latest"), start=3):
        trainer.current_epoch = epoch
        trainer.save_checkpoint(os.path.join(trainer.output_folder, f"checkpoint_{name}.pth"))
    latest, plans = Path(trainer.output_folder, "checkpoint_latest.pth"), Path(trainer.output_folder_base, "plans.json")
    plans.write_text('{"torn')
    whole = latest.read_bytes()
    for content, epoch in ((whole, 5), (whole[: len(whole) // 2], 4), (None, 4)):
        latest.unlink() if content is None else latest.write_bytes(content)
        resumed = make_trainer(folders, fold=1, resume=True)
        maybe_load_checkpoint(resumed, True, False)
        assert resumed.current_epoch == epoch
        told = "Going on from checkpoint_best.pth, the last whole checkpoint" in capsys.readouterr().out
        assert told == (content not in (whole, None)) and (not told or "Going on" in Path(resumed.log_file).read_text())
        assert resumed.network.state_dict().keys() == trainer.network.state_dict().keys()
    final = Path(trainer.output_folder, "checkpoint_final.pth")
    final.write_bytes(whole[:-9])
    with pytest.raises(UserError, match="checkpoint_final.pth: damaged .*; go on with the training by --c"):
        maybe_load_checkpoint(make_trainer(folders, fold=1), False, True)
    plans.unlink()
    for path in Path(trainer.output_folder).glob("*.pth"):
        path.unlink()


def test_two_trainings_of_one_fold_do_not_mix_their_checkpoints(folders):
    first, second = make_trainer(folders, fold=2), make_trainer(folders, fold=2)
    first.on_train_start = second.run_training
    with pytest.raises(UserError, match=f"fold_2: process {os.getpid()} on .* is writing there; wait until it has ended"):
        first.run_training()
