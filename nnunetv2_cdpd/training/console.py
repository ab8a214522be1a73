"""Console: what a training shows while it runs, beside what nnU-Net prints and logs."""

from functools import cached_property
from importlib.util import find_spec
from shutil import get_terminal_size

from tqdm import tqdm

from nnunetv2_cdpd.training.trainer import PartialLabelTrainer


class EpochBar:
    """How far an epoch is, and the time that is left of it: on a terminal only, and gone when the epoch is over."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def start(self, title: str, num_iterations: int, shown: bool = True) -> None:
        """Begin an epoch.

        Args:
            shown: False for all processes of a training but one.
        """
        self.close()  # that of an epoch that was interrupted
        disable = None if shown else True  # None: tqdm looks whether stderr is a terminal
        # Not tqdm's own look at the size, with which it shows nothing on a terminal that knows no size of its own.
        columns, lines = get_terminal_size()
        self._bar = tqdm(
            desc=title, total=num_iterations, unit="batch", leave=False, disable=disable, ncols=columns - 1, nrows=lines
        )

    def step(self) -> None:
        """An iteration is done; outside of an epoch nothing happens."""
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        """Take the bar away, before other lines are printed."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ConsoleTrainer(PartialLabelTrainer):
    """PartialLabelTrainer with a bar for each epoch on the console, which is not in the log file."""

    @cached_property
    def _epoch_bar(self) -> EpochBar:
        return EpochBar()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()  # prints which epoch begins
        num_iterations = self.num_iterations_per_epoch + self.num_val_iterations_per_epoch
        self._epoch_bar.start(f"epoch {self.current_epoch}", num_iterations, shown=self.local_rank == 0)

    def train_step(self, batch: dict) -> dict:
        outputs = super().train_step(batch)
        self._epoch_bar.step()
        return outputs

    def validation_step(self, batch: dict) -> dict:
        outputs = super().validation_step(batch)
        self._epoch_bar.step()
        return outputs

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        self._epoch_bar.close()
        super().on_validation_epoch_end(val_outputs)

    def plot_network_architecture(self) -> None:
        """The host's, but where hiddenlayer is not installed, which it would tell of in every log."""
        if find_spec("hiddenlayer") is not None:
            super().plot_network_architecture()
