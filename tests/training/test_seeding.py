"""A seeded training is the same twice, and the same when it was stopped and went on."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.training import make_trainer, training_folders

from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall_1epoch
from nnunetv2_cdpd.training.seeding import seed_generators


class Seeded(nnUNetTrainerCDPDSmall_1epoch):
    recipe = replace(
        nnUNetTrainerCDPDSmall_1epoch.recipe,
        num_epochs=2,
        num_iterations_per_epoch=2,
        num_val_iterations_per_epoch=1,
        save_every=1,
        seed=3,
    )

    def perform_actual_validation(self, save_probabilities=False):
        pass  # weights are compared here


class SeededOtherwise(Seeded):
    recipe = replace(Seeded.recipe, seed=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with training_folders(tmp_path_factory.mktemp("seeding"), datasets=(820,)) as root:
        yield root


def weights_after_training(folders, trainer_class, noise):
    trainer = make_trainer(folders, trainer_class=trainer_class)
    torch.manual_seed(noise), np.random.seed(noise)  # what came before must not matter
    trainer.run_training()
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_seed_decides_alone_and_a_stopped_training_goes_on_as_it_would_have(folders, monkeypatch):
    whole = weights_after_training(folders, Seeded, noise=1)
    assert not equal(whole, weights_after_training(folders, SeededOtherwise, noise=1))

    trainer = make_trainer(folders, trainer_class=Seeded)
    end_epoch = trainer.on_epoch_end

    def on_epoch_end():
        end_epoch()
        raise KeyboardInterrupt  # after the first epoch and its checkpoint

    monkeypatch.setattr(trainer, "on_epoch_end", on_epoch_end)
    with pytest.raises(KeyboardInterrupt):
        trainer.run_training()
    resumed = make_trainer(folders, resume=True, trainer_class=Seeded)
    resumed.load_checkpoint(os.path.join(resumed.output_folder, "checkpoint_latest.pth"))
    torch.manual_seed(2), np.random.seed(2)
    resumed.run_training()
    assert equal(whole, resumed.network.state_dict())


def test_epochs_and_processes_draw_other_numbers():
    drawn = []
    for epoch, rank in ((0, 0), (1, 0), (0, 1), (0, 0)):
        seed_generators(5, epoch, rank)
        drawn.append((np.random.uniform(), torch.rand(()).item()))
    assert drawn[0] == drawn[3] and len(set(drawn)) == 3
