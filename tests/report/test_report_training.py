"""Curves of a training: from one log or several, of the training that went on last."""

import re

import numpy as np
import pytest
from builders.report import make_training_log

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.report.training import read_training


def test_curves_of_a_log(tmp_path):
    make_training_log(tmp_path / "fold_0" / "training_log_2025_1_1_10_00_00.txt")
    ((name, curves),) = read_training(tmp_path / "fold_0").items()
    assert name == "fold_0" and curves.epochs.tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(curves.train_loss, [0, -0.1, -0.2, -0.3, -0.4]) and np.allclose(curves.val_loss, curves.train_loss / 2)
    assert np.allclose(curves.pseudo_dice, [0, 0.15, 0.3, 0.45, 0.6])  # the mean, in the first epoch without nan
    assert np.allclose(curves.ema_pseudo_dice[:3], [0, 0.015, 0.9 * 0.015 + 0.03])
    assert np.allclose(curves.learning_rate, [0.01, 0.009, 0.008, 0.007, 0.006]) and (curves.seconds == 61.5).all()


def test_a_training_that_was_started_anew_shows_nothing_of_the_former_one(tmp_path):
    make_training_log(tmp_path / "training_log_2025_1_1_10_00_00.txt", range(5))
    make_training_log(tmp_path / "training_log_2025_1_2_10_00_00.txt", range(2))
    (curves,) = read_training(tmp_path).values()
    assert curves.epochs.tolist() == [0, 1] and curves.others == 1


def test_a_continued_training_is_one_curve_in_the_order_of_its_dates(tmp_path):
    make_training_log(tmp_path / "training_log_2025_9_1_10_00_00.txt", range(4))
    make_training_log(tmp_path / "training_log_2025_10_1_10_00_00.txt", range(3, 6))
    later = tmp_path / "training_log_2025_10_1_10_00_00.txt"
    later.write_text(later.read_text().replace("train_loss -0.3000", "train_loss -0.9000"))
    (curves,) = read_training(tmp_path).values()
    assert curves.epochs.tolist() == [0, 1, 2, 3, 4, 5] and curves.train_loss[3] == -0.9 and curves.others == 0


def test_a_training_that_goes_on_from_the_checkpoint_of_the_former_one_shows_nothing_of_the_one_between(tmp_path):
    # begun anew without --c and stopped before its first checkpoint: --c then finds that of the first training
    for day, epochs, loss in ((1, range(6), "1"), (2, range(3), "2"), (3, range(4, 8), "3")):
        log = tmp_path / f"training_log_2025_1_{day}_10_00_00.txt"
        make_training_log(log, epochs)
        log.write_text(re.sub(r"train_loss \S+", f"train_loss {loss}", log.read_text()))
    (curves,) = read_training(tmp_path).values()
    assert curves.epochs.tolist() == list(range(8)) and curves.others == 1
    assert curves.train_loss.tolist() == [1, 1, 1, 1, 3, 3, 3, 3]


def test_a_log_that_goes_on_from_nothing_that_is_there_stands_alone(tmp_path):
    make_training_log(tmp_path / "training_log_2025_1_1_10_00_00.txt", range(3))
    make_training_log(tmp_path / "training_log_2025_1_2_10_00_00.txt", range(50, 52))
    (curves,) = read_training(tmp_path).values()
    assert curves.epochs.tolist() == [50, 51] and curves.others == 1


def test_a_training_that_has_finished_no_epoch_yet_hides_nothing(tmp_path):
    make_training_log(tmp_path / "training_log_2025_1_1_10_00_00.txt", range(3))
    (tmp_path / "training_log_2025_1_2_10_00_00.txt").write_text(
        "2025-01-02 10:00:00.1: Epoch 0 \n2025-01-02 10:00:00.2: Epoch ² \n"
    )
    (curves,) = read_training(tmp_path).values()
    assert curves.epochs.tolist() == [0, 1, 2] and curves.others == 0


def test_two_trainings_in_one_log_are_told_apart(tmp_path):
    first, second = tmp_path / "a" / "x.txt", tmp_path / "b" / "x.txt"
    make_training_log(first, range(5))
    make_training_log(second, range(2))
    both = tmp_path / "training_log_2025_1_1_10_00_00.txt"
    both.write_text(first.read_text() + "\n" + second.read_text())
    (curves,) = read_training(both).values()
    assert curves.epochs.tolist() == [0, 1] and curves.others == 1


def test_all_folds_of_a_model_and_single_logs(tmp_path):
    log = "training_log_2025_1_1_10_00_00.txt"
    for fold in (0, 1):
        make_training_log(tmp_path / f"fold_{fold}" / log, 2 + fold)
    assert [len(curves.epochs) for curves in read_training(tmp_path).values()] == [2, 3]
    assert list(read_training(tmp_path / "fold_1" / log)) == [log]


def test_a_file_that_is_no_log_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing trained")
    with pytest.raises(UserError, match="no epoch in it; is it a training log"):
        read_training(tmp_path / "notes.txt")


def test_what_our_trainer_tells_of_each_source_is_not_the_mean_of_an_epoch(tmp_path):
    lines = ["Epoch 0", "Pseudo dice of source KITS23: 0.5 {'kidney': 0.5}", "train_loss -0.1"]  # and killed
    (tmp_path / "training_log_2025_1_1_0_0_0.txt").write_text("".join(f"2025-01-01 00:00:00.1: {line}\n" for line in lines))
    (curves,) = read_training(tmp_path).values()
    assert curves.train_loss.tolist() == [-0.1] and np.isnan(curves.pseudo_dice).all()
