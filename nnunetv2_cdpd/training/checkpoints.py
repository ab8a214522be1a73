"""What a training leaves, untorn by kills and full disks; and the last whole checkpoint where one was torn all the same."""

import struct
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.host import exchanged
from nnunetv2_cdpd.jobs import output_folder, written_beside
from nnunetv2_cdpd.training.save_interval import SaveInterval

FINAL, LATEST, BEST = "checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth"
ORDER = (FINAL, LATEST, BEST)  # in which nnU-Net looks for one to continue from
_WRITER = ("inline_container", "PytorchStreamWriter")  # named in torch's RuntimeError where the disk takes no more


class UntornTrainer(nnUNetTrainer):
    """nnU-Net's trainer, whose files are there as a whole or not at all.

    resumed: Whether the training is continued (--c); set by the class that makes the trainer.
    save_interval: After how long the latest checkpoint is saved, besides nnU-Net's number of epochs.
    """

    resumed = False
    going_on = "the same command and --c"  # what goes on with a training
    save_every: int
    save_interval: SaveInterval | None = None
    _best_ema: float | None  # the host's: of checkpoint_best.pth
    _unsaved = _best_unsaved = False  # whether the disk did not take the last checkpoint, or the last best one

    def whole_checkpoint(self, filename: str) -> str:
        """The checkpoint to begin with where nnU-Net chose this one: when a training is continued, the last whole one.

        Raises:
            UserError: None is whole; or this one is not, and is to be validated.
        """
        path = Path(filename)
        if self.resumed:
            return str(last_whole(path, self.print_to_log_file))
        if path.is_file() and (damage := damage_of(path)) is not None:
            raise UserError(f"{path}: damaged ({damage}); go on with the training by --c, or copy the file there again")
        return filename

    def save_checkpoint(self, filename: str) -> None:
        """The host's, written beside; a full disk stops no training that can save again later.

        Raises:
            UserError: The last checkpoint of a training cannot be saved.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)  # writes nothing
            return
        name = Path(filename).name
        why = save_whole(super().save_checkpoint, Path(filename))
        self._unsaved = why is not None
        if self.save_interval is not None and name == LATEST:
            self.save_interval.begin()
        self._best_unsaved = self._best_unsaved if name != BEST else self._unsaved
        if why is not None and name == FINAL:
            raise UserError(f"{filename}: cannot be saved ({why}); make room and go on with {self.going_on}")
        if why is not None:
            self.print_to_log_file(
                f"WARNING: {filename}: cannot be saved ({why}). The one before stays, the training goes on and tries again after "
                "the next epoch; make room"
            )

    def run_training(self) -> None:
        """The host's, for one training at a time of a fold.

        Raises:
            UserError: Another one is at work in its folder, or CDPD_SAVE_MINUTES is no number.
        """
        self.save_interval = SaveInterval()
        with output_folder(Path(self.output_folder)) if self.local_rank == 0 else nullcontext():
            super().run_training()

    def on_train_start(self) -> None:
        with exchanged("json_files", _write_json):
            super().on_train_start()

    def on_epoch_end(self) -> None:
        interval, best = self.save_every, self._best_ema
        if self._unsaved or (self.save_interval is not None and self.save_interval.is_over()):
            self.save_every = 1  # now
        try:
            super().on_epoch_end()
        finally:
            self.save_every = interval
        if self._best_unsaved:
            self._best_ema, self._best_unsaved = best, False  # of the file that is there: what is better than it is saved

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        with exchanged("json_files", _write_json):
            super().perform_actual_validation(save_probabilities)


def _write_json(content: Any, file: str, *args: Any, **kwargs: Any) -> None:
    """nnU-Net's save_json, written beside: trainings and predictions of other folds read plans.json, dataset.json and splits."""
    with written_beside(Path(file)) as beside:
        save_json(content, str(beside), *args, **kwargs)


def save_whole(save: Callable[[str], None], path: Path) -> str | None:
    """Save a checkpoint beside and rename it; the one before stays until the new one is whole.

    Args:
        save: Saves to a path, by torch.save.

    Returns:
        Why the disk did not take it, in words; None: it is saved.
    """
    try:
        with written_beside(path) as beside:
            save(str(beside))
    except OSError as error:
        return error.strerror or reason(error)
    except RuntimeError as error:
        if not any(name in str(error) for name in _WRITER):
            raise
        return "no space left, or the disk failed"
    return None


def last_whole(chosen: Path, tell: Callable[[str], None]) -> Path:
    """The checkpoint to continue from: the chosen one or, where it is torn, the next whole one in nnU-Net's order.

    Args:
        tell: Hears which one it is if it is another.

    Raises:
        UserError: None is whole.
    """
    names = ORDER[ORDER.index(chosen.name) :] if chosen.name in ORDER else (chosen.name,)
    torn: list[str] = []
    for path in (chosen.with_name(name) for name in names):
        if not path.is_file():
            continue
        damage = damage_of(path)
        if damage is None:
            if torn:
                tell(f"{'; '.join(torn)}. Going on from {path.name}, the last whole checkpoint")
            return path
        torn.append(f"{path.name} is damaged ({damage})")
    raise UserError(
        f"{chosen.parent}: no checkpoint to go on from: {'; '.join(torn)}; copy a whole one there, or remove what is damaged and "
        "start the training anew"
    )


def damage_of(path: Path) -> str | None:
    """Why a file is no whole checkpoint, by the checksums that torch.save puts in it; None: it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
            if part is not None and archive.getinfo(part).CRC != 0:  # 0: torch was told to take no checksums
                return f"{part} in it is not as it was written"
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error):
        return "it is not whole"
    return None
