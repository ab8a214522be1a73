"""nnUNetTrainerCDPDPaper: the release's learning rates, sampling and augmentation."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from builders.training import make_trainer, training_folders

from nnunetv2_cdpd.released.preset import KW_REQUIRES_IMPORT, PAPER_NETWORK_CLASS_NAME, paper_arch_kwargs
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDPaper import nnUNetTrainerCDPDPaper, nnUNetTrainerCDPDPaper_1epoch
from nnunetv2_cdpd.training.shift_intensity import ShiftIntensity
from nnunetv2_cdpd.training.warmup_cosine import WarmupCosineScheduler


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    with training_folders(tmp_path_factory.mktemp("paper"), datasets=(820,)) as root:
        trainer = make_trainer(root, trainer_class=nnUNetTrainerCDPDPaper_1epoch)
        trainer.on_train_start()
        yield trainer


def learning_rates(epochs, **arguments):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = WarmupCosineScheduler(optimizer, **arguments)
    rates = {}
    for epoch in epochs:
        scheduler.step(epoch)
        rates[epoch] = optimizer.param_groups[0]["lr"]
        assert scheduler.get_last_lr() == [rates[epoch]]
    return rates


def test_learning_rates_are_those_of_the_released_run():
    """Numbers printed by the released train.py with 1000 epochs."""
    rates = learning_rates([0, 49, 500, 998, 999], initial_lr=4e-4, max_steps=1000, warmup_steps=50)
    assert rates[0] == pytest.approx(8.16e-6, rel=1e-3)
    assert rates[49] == pytest.approx(4e-4)
    assert rates[500] == pytest.approx(2.16e-4, rel=2e-3)
    assert rates[998] == pytest.approx(1.1e-9, rel=2e-2)
    assert rates[999] == pytest.approx(0, abs=1e-18)


def test_learning_rate_follows_the_epoch_after_a_resumed_training():
    straight = learning_rates(range(20), initial_lr=1e-3, max_steps=20, warmup_steps=5)
    resumed = learning_rates([7], initial_lr=1e-3, max_steps=20, warmup_steps=5)
    assert resumed[7] == straight[7]


def test_a_single_epoch_learns_at_the_full_rate(trainer):
    trainer.lr_scheduler.step(0)
    assert trainer.num_epochs == 1 and trainer.optimizer.param_groups[0]["lr"] == trainer.initial_lr


def test_network_is_that_of_the_papers_plans(trainer):
    """Not built here: it is far too large for a test."""
    plans = deepcopy(trainer.plans_manager.plans)
    plans["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": PAPER_NETWORK_CLASS_NAME,
        "arch_kwargs": paper_arch_kwargs(),
        "_kw_requires_import": list(KW_REQUIRES_IMPORT),
    }
    paper = nnUNetTrainerCDPDPaper_1epoch(
        {**plans, "continue_training": False}, "3d_fullres", 0, trainer.dataset_json, torch.device("cpu")
    )
    assert paper.configuration_manager.network_arch_class_name == PAPER_NETWORK_CLASS_NAME
    kwargs = paper.configuration_manager.network_arch_init_kwargs
    assert kwargs["strides"] == paper_arch_kwargs()["strides"]
    assert len(kwargs["text"]["class_prompts"]) == len(trainer.annotation.classes)
    assert kwargs["vision"]["intensity_windows"] == [[0.0, 1.0]]


def test_recipe_is_the_papers():
    recipe = nnUNetTrainerCDPDPaper.recipe
    assert (recipe.initial_lr, recipe.weight_decay, recipe.warmup_epochs) == (4e-4, 1e-5, 50)
    assert recipe.source_sampling_exponent == 0
    assert recipe.oversample_foreground_percent == pytest.approx(2 / 3) and recipe.probabilistic_oversampling


def test_optimizer_is_adamw_over_what_is_trained(trainer):
    (group,) = trainer.optimizer.param_groups
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert (group["weight_decay"], group["betas"], group["eps"]) == (1e-5, (0.9, 0.999), 1e-8)
    assert isinstance(trainer.lr_scheduler, WarmupCosineScheduler)


def test_every_source_is_drawn_alike(trainer):
    loader = trainer.dataloader_train.data_loader
    per_source = np.zeros(len(trainer.annotation.sources))
    for case, probability in zip(loader.indices, loader.sampling_probabilities):
        per_source[loader._data.sources[case]] += probability
    np.testing.assert_allclose(per_source, 1 / 3)


def test_no_mirroring_and_no_larger_patch(trainer):
    loader = trainer.dataloader_train.data_loader
    assert trainer.inference_allowed_mirroring_axes is None
    assert list(loader.patch_size) == list(loader.final_patch_size) == list(trainer.configuration_manager.patch_size)
    names = [type(getattr(t, "transform", t)).__name__ for t in loader.transforms.transforms]
    assert names[:3] == ["SpatialTransform", "Rot90Transform", "ShiftIntensity"]
    assert names[-1] == "DownsampleSegForDSTransform" and "MirrorTransform" not in names
    assert "ConvertSegmentationToRegionsTransform" not in names


def test_zoom_enlarges_by_a_third_to_a_half(trainer):
    zoom = trainer.dataloader_train.data_loader.transforms.transforms[0]
    patch = trainer.configuration_manager.patch_size
    box = torch.zeros(1, *patch, dtype=torch.int16)
    box[(0, *(slice(size // 2 - 3, size // 2 + 3) for size in patch))] = 1
    zoom.p_scaling = 1
    zoomed = [zoom(image=torch.zeros(1, *patch), segmentation=box)["segmentation"] for _ in range(20)]
    growth = [(part.sum() / box.sum()).item() ** (1 / 3) for part in zoomed]
    assert min(growth) > 1.1 and max(growth) < 1.7
    assert np.mean(growth) == pytest.approx(1.4, abs=0.12)


def test_quarter_turns_lie_in_the_axial_plane_and_keep_the_patch(trainer, monkeypatch):
    rotation = trainer.dataloader_train.data_loader.transforms.transforms[1].transform
    assert isinstance(rotation, Rot90Transform)
    read = trainer.plans_manager.transpose_forward
    assert {read[axis] for axis in rotation.allowed_axes} == {1, 2}  # nnU-Net reads (z, y, x)
    monkeypatch.setattr(type(trainer.configuration_manager), "patch_size", [8, 12, 10])
    turned = trainer.get_training_transforms([8, 12, 10], (-0.5, 0.5), None, None, False).transforms[1].transform
    assert turned.num_rot_per_combination == (2,)
    assert turned(image=torch.zeros(1, 8, 12, 10))["image"].shape == (1, 8, 12, 10)


def test_shift_is_a_share_of_each_channels_window_and_leaves_further_channels_alone():
    shift = ShiftIntensity([(-1, 3), (0, 10)], most=0.1)
    np.random.seed(0)
    shifts = torch.stack([shift(image=torch.zeros(3, 2, 2, 2))["image"][:, 0, 0, 0] for _ in range(200)])
    assert shifts[:, 0].abs().max() <= 0.4 < shifts[:, 0].abs().max() + 0.02
    torch.testing.assert_close(shifts[:, 1], shifts[:, 0] * 2.5)
    assert (shifts[:, 2] == 0).all()


def test_one_step_learns(trainer):
    trainer.on_epoch_start(), trainer.on_train_epoch_start()
    assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])


def test_two_dimensional_patches_turn_in_their_plane(trainer, monkeypatch):
    monkeypatch.setattr(type(trainer.configuration_manager), "patch_size", [12, 12])
    assert trainer._axial_axes() == (0, 1)
