"""Training: the curves of a training, from the text log that nnU-Net's trainer writes into its fold folder."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.evaluation.results import mean_of_finite

# what the log names -> field of TrainingCurves
_FIELDS = {
    "train_loss": "train_loss",
    "val_loss": "val_loss",
    "Pseudo dice": "pseudo_dice",
    "Current learning rate:": "learning_rate",
    "Epoch time:": "seconds",
}
_LINE = re.compile(rf"^\S+ \S+: +({'|'.join(_FIELDS)}|Epoch)(?! of source) *(.*)$")  # our trainer tells each source's too
_NUMBER = re.compile(r"(?:np\.float\d+\()?(-?\d+\.?\d*(?:e[-+]?\d+)?|-?inf|nan)\)?", re.IGNORECASE)
EMA_WEIGHT = 0.9  # nnU-Net's, of what was before


@dataclass(frozen=True)
class TrainingCurves:
    """One value per epoch, nan where the log has none.

    epochs: Numbers of the epochs, from 0.
    pseudo_dice: Mean over the classes that have one.
    ema_pseudo_dice: nnU-Net's moving average of it, by which the best checkpoint is chosen.
    seconds: Duration of each epoch.
    others: Trainings of which the folder has logs too, and nothing is shown.
    """

    epochs: np.ndarray
    train_loss: np.ndarray
    val_loss: np.ndarray
    pseudo_dice: np.ndarray
    ema_pseudo_dice: np.ndarray
    learning_rate: np.ndarray
    seconds: np.ndarray
    others: int = 0

    @property
    def hours(self) -> float:
        """Of all epochs together."""
        return float(np.nansum(self.seconds)) / 3600


def read_training(path: str | Path) -> dict[str, TrainingCurves]:
    """Curves of a training.

    Args:
        path: A training log, a fold folder, or the folder of a model with its fold folders.

    Returns:
        Name of the fold folder (of the file for a log) -> curves.

    Raises:
        UserError: There is no log, or it holds no epoch.
    """
    path = Path(path)
    if path.is_file():
        return {path.name: _curves([path])}
    found = {folder.name: sorted(folder.glob("training_log_*.txt")) for folder in (path, *sorted(path.glob("fold_*")))}
    found = {name: logs for name, logs in found.items() if logs}
    if not found:
        raise UserError(f"{path}: no training_log_*.txt here or in fold_*; give the folder of a model, of a fold, or a log")
    return {name: _curves(logs) for name, logs in found.items()}


def _curves(logs: list[Path]) -> TrainingCurves:
    """Of several logs in a folder those of the training that went on last.

    A log that begins at epoch 0 is a training of its own, and what was there before it no part of it. One that begins later
    goes on from a checkpoint: of the last training that came as far, which need not be the one before it, because a training
    that is stopped before its first checkpoint leaves the checkpoint of the former one.
    """
    trainings: list[tuple[int, dict[int, dict[str, float]]]] = []  # (number of its beginning, epochs), in the order of the logs
    # by time, because the names sort by number, not by date: training_log_2025_9_1 comes after training_log_2025_10_1
    for log in sorted(logs, key=lambda log: [int(number) for number in re.findall(r"\d+", log.name)]):
        for part in _parts(log):
            first = next(iter(part))
            new: tuple[int, dict[int, dict[str, float]]] = (len(trainings), {})
            begun, before = next((its for its in reversed(trainings) if first - 1 in its[1]), new)
            trainings.append((begun, {number: epoch for number, epoch in before.items() if number < first} | part))
    if not trainings:
        raise UserError(f"{logs[0]}: no epoch in it; is it a training log of nnU-Net?")
    done = trainings[-1][1]
    curves = {field: np.array([epoch.get(what, np.nan) for epoch in done.values()]) for what, field in _FIELDS.items()}
    others = len({begun for begun, _ in trainings}) - 1
    average = _moving_average(curves["pseudo_dice"])
    return TrainingCurves(np.array(list(done)), ema_pseudo_dice=average, others=others, **curves)


def _parts(log: Path) -> list[dict[int, dict[str, float]]]:
    """The finished epochs of a log, anew where their numbers do not go up."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{log}: cannot be read ({error.strerror or reason(error)}); give another") from error
    parts: list[dict[int, dict[str, float]]] = [{}]
    current: dict[str, float] = {}
    for line in lines:
        if not (match := _LINE.match(line)):
            continue
        what, rest = match.groups()
        values = [float(number) for number in _NUMBER.findall(rest)]
        if what == "Epoch" and rest.strip().isdecimal():
            current, number = {}, int(rest)
            if parts[-1] and number <= max(parts[-1]):
                parts.append({})
            parts[-1][number] = current
        elif values:
            current[what] = mean_of_finite(values) if what == "Pseudo dice" else values[0]
    finished = [{number: epoch for number, epoch in part.items() if "train_loss" in epoch} for part in parts]
    return [part for part in finished if part]


def _moving_average(values: np.ndarray) -> np.ndarray:
    averages, last = [], np.nan
    for value in values:
        last = last if np.isnan(value) else value if np.isnan(last) else EMA_WEIGHT * last + (1 - EMA_WEIGHT) * value
        averages.append(last)
    return np.array(averages)
