"""The universal task is learned beside the sources' own: both outputs learn, and they are not the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.training import make_trainer, training_folders

from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall
from nnunetv2_cdpd.training.progress import dice_by_source
from nnunetv2_cdpd.training.pseudo_dice import counts_per_source

NUM_ITERATIONS = 80
pytestmark = pytest.mark.slow


class NoVision(nnUNetTrainerCDPDSmall):
    """The smallest network that has tasks, trained without augmentation."""

    recipe = replace(nnUNetTrainerCDPDSmall.recipe.with_network(vision_tokens=False), oversample_foreground_percent=1.0)

    def get_training_transforms(self, patch_size, rotation, deep_supervision_scales, *args, **kwargs):
        return self.get_validation_transforms(deep_supervision_scales)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        rotation, dummy_2d, _, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        return rotation, dummy_2d, self.configuration_manager.patch_size, axes


@pytest.fixture(scope="module")
def dice(tmp_path_factory):
    """Mean pseudo Dice on validation patches, (iterations, task) -> Dice, and logits of one batch under either task."""
    with training_folders(tmp_path_factory.mktemp("universal"), datasets=(820,)) as root:
        trainer = make_trainer(root, trainer_class=NoVision)
        trainer.on_train_start()
        batches = [next(trainer.dataloader_val) for _ in range(6)]
        scores = {0: evaluate(trainer, batches)}
        trainer.on_train_epoch_start()
        for _ in range(NUM_ITERATIONS):
            trainer.train_step(next(trainer.dataloader_train))
        scores[NUM_ITERATIONS] = evaluate(trainer, batches)
        yield scores


def evaluate(trainer, batches):
    """{"own": (mean Dice, logits of the first batch), "universal": ...}"""
    trainer.network.eval()
    results = {}
    with torch.no_grad():
        for name in ("own", "universal"):
            counts, logits = 0, []
            for batch in batches:
                *label_maps, sources = batch["target"]
                logits.append(trainer.cdpdnet(batch["data"], sources if name == "own" else None)[0])
                counts = counts + counts_per_source(logits[-1], label_maps[0], sources, trainer.loss).numpy()
            _, by_source = dice_by_source(counts)
            results[name] = float(np.nanmean(by_source)), logits[0]
    return results


@pytest.mark.parametrize("task", ["own", "universal"])
def test_each_task_learns(dice, task):
    before, after = dice[0][task][0], dice[NUM_ITERATIONS][task][0]
    assert after > before + 0.3 and after > 0.4, (before, after)


def test_outputs_of_the_tasks_differ_after_training(dice):
    own, universal = (dice[NUM_ITERATIONS][task][1] for task in ("own", "universal"))
    assert (own - universal).abs().max() > 0.05
    assert (torch.sigmoid(own) - torch.sigmoid(universal)).abs().max() > 0.005
