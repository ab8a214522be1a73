"""The bar of an epoch: on a terminal only, on one process only, gone before other lines are printed."""

import io
import sys

import pytest

from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD
from nnunetv2_cdpd.training.console import ConsoleTrainer, EpochBar
from nnunetv2_cdpd.training.trainer import PartialLabelTrainer


class Terminal(io.StringIO):
    def isatty(self):
        return True


def take_place_of_stderr(monkeypatch, stream):
    """In the test itself: pytest puts its own in place after the fixtures."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_bar_counts_iterations_and_goes(monkeypatch):
    terminal = take_place_of_stderr(monkeypatch, Terminal())
    bar = EpochBar()
    bar.step()  # outside of an epoch
    bar.start("epoch 7", 4)
    assert "epoch 7:   0%" in terminal.getvalue() and "0/4" in terminal.getvalue()
    for _ in range(4):
        bar._bar.last_print_t -= 1  # a second ago
        bar.step()
    assert "4/4" in terminal.getvalue() and "<00:00" in terminal.getvalue()
    bar.close()
    assert terminal.getvalue().endswith("\r") and terminal.getvalue().split("\r")[-2].strip() == ""
    bar.step(), bar.close()


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO, True), (Terminal, False)])
def test_no_bar_where_there_is_no_terminal_or_another_process_shows_it(stream, shown, monkeypatch):
    took = take_place_of_stderr(monkeypatch, stream())
    bar = EpochBar()
    bar.start("epoch 0", 4, shown)
    bar.step()
    bar.close()
    assert took.getvalue() == ""


def test_trainer_shows_an_epoch_of_training_and_validation(monkeypatch):
    terminal = take_place_of_stderr(monkeypatch, Terminal())
    trainer = object.__new__(nnUNetTrainerCDPD)
    trainer.current_epoch, trainer.local_rank = 3, 0
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 1
    seen = []
    for name in ("on_train_epoch_start", "train_step", "validation_step", "on_validation_epoch_end"):
        monkeypatch.setattr(PartialLabelTrainer, name, lambda self, *given, name=name: seen.append((name, self.shown())) or name)
    monkeypatch.setattr(ConsoleTrainer, "shown", lambda self: self._epoch_bar._bar and self._epoch_bar._bar.n, raising=False)
    trainer.on_train_epoch_start()
    assert [trainer.train_step({}), trainer.train_step({}), trainer.validation_step({})] == ["train_step"] * 2 + [
        "validation_step"
    ]
    trainer.on_validation_epoch_end([])
    assert seen == [
        ("on_train_epoch_start", None),
        ("train_step", 0),
        ("train_step", 1),
        ("validation_step", 2),
        ("on_validation_epoch_end", None),
    ]
    assert "epoch 3:   0%" in terminal.getvalue() and "0/3" in terminal.getvalue()


@pytest.mark.parametrize("found", [None, "hiddenlayer"])
def test_hiddenlayer_is_not_missed(found, monkeypatch):
    drawn = []
    monkeypatch.setattr("nnunetv2_cdpd.training.console.find_spec", lambda name: found)
    monkeypatch.setattr(PartialLabelTrainer, "plot_network_architecture", lambda self: drawn.append(1))
    object.__new__(nnUNetTrainerCDPD).plot_network_architecture()
    assert drawn == ([1] if found else [])
