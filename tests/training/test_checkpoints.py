"""Checkpoints: untorn by full disks, and the last whole one where one is torn."""

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.training.checkpoints import UntornTrainer, damage_of, last_whole, save_whole
from nnunetv2_cdpd.training.save_interval import SaveInterval


def saved(path, value=1):
    torch.save({"weights": torch.full((300,), float(value)), "epoch": value}, path)
    return path


def tear(path, how):
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(
        {
            "empty": b"",
            "half": data[:half],
            "one byte short": data[:-1],
            "zeros at the end": data[:half] + bytes(len(data) - half),
            "zeros inside": data[:half] + bytes(64) + data[half + 64 :],
            "text": b"not a checkpoint",
        }[how]
    )
    return path


TEARS = ["empty", "half", "one byte short", "zeros at the end", "zeros inside", "text"]


@pytest.mark.parametrize("how", TEARS)
def test_torn_checkpoints_are_told_from_whole_ones(how, tmp_path):
    path = saved(tmp_path / "checkpoint_latest.pth")
    assert damage_of(path) is None
    assert damage_of(tear(path, how)) is not None


def test_the_last_whole_one_is_gone_on_from_and_told(tmp_path):
    final, latest, best = (tmp_path / f"checkpoint_{name}.pth" for name in ("final", "latest", "best"))
    told = []
    saved(best), saved(latest)
    assert last_whole(latest, told.append) == latest and last_whole(best, told.append) == best and told == []
    tear(latest, "half")
    assert last_whole(latest, told.append) == best
    assert told == [
        "checkpoint_latest.pth is damaged (it is not whole). Going on from checkpoint_best.pth, the last whole checkpoint"
    ]
    saved(latest), tear(saved(final), "empty")
    assert last_whole(final, told.append) == latest and "checkpoint_final.pth is damaged" in told[-1] and len(told) == 2
    tear(latest, "text"), tear(best, "half")
    with pytest.raises(UserError, match="no checkpoint to go on from: .*final.*latest.*best.*; copy a whole one") as raised:
        last_whole(final, told.append)
    assert "\n" not in str(raised.value) and latest.is_file() and len(told) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_leaves_the_checkpoint_before(error, tmp_path):
    path = saved(tmp_path / "checkpoint_latest.pth", 1)

    def save(file):
        with open(file, "wb") as half:
            half.write(b"half")
        raise error

    assert "o space left" in save_whole(save, path)
    assert torch.load(path)["epoch"] == 1 and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_torch_says_on_a_full_disk_is_known():
    with pytest.raises(RuntimeError) as raised:
        torch.save({"a": torch.zeros(3_000_000)}, "/dev/full")
    assert "inline_container" in str(raised.value) or "PytorchStreamWriter" in str(raised.value)


def test_an_error_that_is_not_the_disks_is_not_hidden(tmp_path):
    def save(file):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="CUDA"):
        save_whole(save, tmp_path / "checkpoint_latest.pth")


class Host:
    """What UntornTrainer wants of nnU-Net's trainer, without a network."""

    def __init__(self, folder):
        self.output_folder, self.local_rank, self.disable_checkpointing = str(folder), 0, False
        self.save_every, self.epoch, self.full, self.lines = 3, 0, False, []
        self._best_ema, self.ema = None, 0.0

    def print_to_log_file(self, *args):
        self.lines.append(" ".join(args))

    def save_checkpoint(self, filename):
        if self.full:
            raise OSError(28, "No space left on device")
        saved(filename, self.epoch)

    def on_epoch_end(self):
        self.epoch += 1
        if self.epoch % self.save_every == 0:
            self.save_checkpoint(f"{self.output_folder}/checkpoint_latest.pth")
        if self._best_ema is None or self.ema > self._best_ema:
            self._best_ema = self.ema
            self.save_checkpoint(f"{self.output_folder}/checkpoint_best.pth")


class Trainer(UntornTrainer, Host):
    __init__ = Host.__init__


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    for name in ("save_checkpoint", "on_epoch_end", "print_to_log_file"):
        monkeypatch.setattr(nnUNetTrainer, name, getattr(Host, name))
    return Trainer(tmp_path)


def test_a_training_goes_on_without_room_and_saves_as_soon_as_there_is_some(trainer, tmp_path):
    for epoch in range(1, 8):
        trainer.full = epoch in (3, 4)
        trainer.on_epoch_end()
    latest = torch.load(tmp_path / "checkpoint_latest.pth")
    assert latest["epoch"] == 6 and trainer.save_every == 3
    assert [line.partition(" (")[0] for line in trainer.lines] == [
        f"WARNING: {tmp_path}/checkpoint_latest.pth: cannot be saved"
    ] * 2
    trainer.full = True
    with pytest.raises(UserError, match="checkpoint_final.pth: cannot be saved .No space left on device.; make room and go on"):
        trainer.save_checkpoint(f"{tmp_path}/checkpoint_final.pth")


@pytest.mark.parametrize(("minutes", "saved_at"), [("", [3, 6]), ("0", [1, 2, 3, 4, 5, 6]), ("2", [2, 3, 5, 6]), ("9", [3, 6])])
def test_a_checkpoint_is_saved_by_the_clock_too(minutes, saved_at, trainer, tmp_path, monkeypatch):
    """An epoch takes a minute, and nnU-Net saves after every third; a save of its own begins the time anew."""
    clock = [100.0]
    monkeypatch.setattr("nnunetv2_cdpd.training.save_interval.time.monotonic", lambda: clock[0])
    monkeypatch.setenv("CDPD_SAVE_MINUTES", minutes)
    trainer.save_interval = SaveInterval()
    epochs = []
    for epoch in range(1, 7):
        clock[0] += 60
        trainer.on_epoch_end()
        path = tmp_path / "checkpoint_latest.pth"
        epochs += [epoch] if path.exists() and torch.load(path)["epoch"] == epoch else []
    assert epochs == saved_at and trainer.save_every == 3


@pytest.mark.parametrize("minutes", ["often", "-1", "1.5", "\u00b2"])
def test_minutes_that_are_none_are_told(minutes, monkeypatch):
    monkeypatch.setenv("CDPD_SAVE_MINUTES", minutes)
    with pytest.raises(UserError, match=f"CDPD_SAVE_MINUTES={minutes}: give minutes as a whole number"):
        SaveInterval()


def test_the_best_that_found_no_room_does_not_keep_the_next_best_from_being_saved(trainer, tmp_path):
    best = tmp_path / "checkpoint_best.pth"
    for ema, full in ((0.5, False), (0.9, True), (0.8, False), (0.7, False)):
        trainer.ema, trainer.full = ema, full
        trainer.on_epoch_end()
    assert torch.load(best)["epoch"] == 3 and trainer._best_ema == 0.8


def test_only_the_first_process_of_several_writes(trainer, tmp_path, monkeypatch):
    trainer.local_rank, called = 1, []
    monkeypatch.setattr(nnUNetTrainer, "save_checkpoint", lambda self, name: called.append(name))
    trainer.save_checkpoint(f"{tmp_path}/checkpoint_latest.pth")
    assert called == [f"{tmp_path}/checkpoint_latest.pth"] and list(tmp_path.iterdir()) == []  # nnU-Net's own does nothing
