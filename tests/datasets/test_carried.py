"""What a model folder takes along when it is exported, while trainings write the same file."""

import json

import pytest

from nnunetv2_cdpd.datasets.carried import carry, fingerprint_alone, kept_along, taken_along
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD
from nnunetv2_cdpd.training.console import ConsoleTrainer


def test_what_is_carried_outlives_the_training_of_a_further_fold(tmp_path, monkeypatch):
    """The host copies the fingerprint of the dataset there when a training begins."""
    file = tmp_path / "dataset_fingerprint.json"
    file.write_text('{"spacings": [1]}')
    carry(tmp_path, "cdpd_quality", {"cases": 10})
    monkeypatch.setattr(ConsoleTrainer, "on_train_start", lambda self: file.write_text('{"spacings": [2]}'))
    trainer = nnUNetTrainerCDPD.__new__(nnUNetTrainerCDPD)
    trainer.local_rank, trainer.output_folder_base = 0, str(tmp_path)
    trainer.on_train_start()
    assert taken_along(tmp_path, "cdpd_quality") == ({"cases": 10}, file)
    assert json.loads(file.read_text())["spacings"] == [2] and fingerprint_alone(tmp_path) == {"spacings": [2]}


def test_what_is_carried_outlives_a_training_that_fails_when_it_begins(tmp_path):
    carry(tmp_path, "cdpd_quality", {"cases": 10})
    with pytest.raises(RuntimeError, match="out of memory"), kept_along(tmp_path):
        (tmp_path / "dataset_fingerprint.json").write_text('{"spacings": [2]}')
        raise RuntimeError("out of memory")
    assert taken_along(tmp_path, "cdpd_quality")[0] == {"cases": 10} and fingerprint_alone(tmp_path) == {"spacings": [2]}


def test_what_is_put_there_meanwhile_takes_the_place_of_what_was_there(tmp_path):
    carry(tmp_path, "cdpd_quality", {"cases": 10})
    carry(tmp_path, "cdpd_place", {"version": 1})
    with kept_along(tmp_path):
        (tmp_path / "dataset_fingerprint.json").write_text("{}")
        carry(tmp_path, "cdpd_place", {"version": 2})
    assert taken_along(tmp_path, "cdpd_place")[0] == {"version": 2} and taken_along(tmp_path, "cdpd_quality")[0] == {"cases": 10}


def test_a_first_training_writes_the_file_as_it_is(tmp_path, monkeypatch):
    file = tmp_path / "dataset_fingerprint.json"
    monkeypatch.setattr(ConsoleTrainer, "on_train_start", lambda self: file.write_text("{}"))
    trainer = nnUNetTrainerCDPD.__new__(nnUNetTrainerCDPD)
    trainer.local_rank, trainer.output_folder_base = 0, str(tmp_path)
    trainer.on_train_start()
    assert file.read_text() == "{}" and taken_along(tmp_path, "cdpd_quality") is None
