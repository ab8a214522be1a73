"""Progress of a training, by source: nnU-Net's logger with a pseudo Dice for each source, also drawn in progress.png."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from nnunetv2_cdpd.jobs import written_beside

_NAMES_PER_ROW = 5  # of the legend


class SourceLogger(LocalLogger):
    """nnU-Net's local logger, with one more list per source.

    An epoch in which no patch held or predicted any annotated class has no mean pseudo Dice (nan); the moving average then
    stays as it was, where nnU-Net's would be nan for good.

    Args:
        source_names: In the order of the annotation.
    """

    def __init__(self, source_names: Sequence[str], verbose: bool = False) -> None:
        super().__init__(verbose)
        self.source_keys = {name: source_key(name) for name in source_names}
        self.my_fantastic_logging.update({key: [] for key in self.source_keys.values()})

    def log(self, key: str, value: Any, epoch: int) -> None:
        if key == "ema_fg_dice" and math.isnan(value):
            means = self.my_fantastic_logging["mean_fg_dice"]
            averages = [average for average in self.my_fantastic_logging["ema_fg_dice"][:epoch] if not math.isnan(average)]
            value = averages[-1] if averages else means[epoch]
        super().log(key, value, epoch)

    def load_checkpoint(self, checkpoint: dict) -> None:
        """Of any trainer; epochs that were not logged by source are nan."""
        num_epochs = len(checkpoint["mean_fg_dice"])
        super().load_checkpoint({**{key: [math.nan] * num_epochs for key in self.source_keys.values()}, **checkpoint})

    def plot_progress_png(self, output_folder: str) -> None:
        """nnU-Net's progress.png with one panel more."""
        super().plot_progress_png(output_folder)
        path = Path(output_folder) / "progress.png"
        curves = {name: self.my_fantastic_logging[key] for name, key in self.source_keys.items()}
        with written_beside(path) as beside:
            _append_panel(path, curves, beside)


def source_key(name: str) -> str:
    """Under which the pseudo Dice of a source is logged."""
    return f"pseudo_dice_of_source/{name}"


def dice_by_source(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo Dice of each source and class (S, C), and the mean of each source (S,); nan where there is nothing to count.

    Args:
        counts: (3, S, C) voxel counts: true positives, false positives, false negatives.
    """
    with np.errstate(invalid="ignore"):
        dice = 2 * counts[0] / (2 * counts[0] + counts[1] + counts[2])
    counted = ~np.isnan(dice)
    means = np.where(counted, dice, 0).sum(1) / np.where(counted.any(1), counted.sum(1), np.nan)
    return dice, means


def _append_panel(path: Path, curves: dict[str, list[float]], output: Path) -> None:
    """Draw the curves below the picture, as wide as it."""
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler
    from PIL import Image

    with Image.open(path) as picture:
        progress = np.asarray(picture.convert("RGB"))
    dpi = 100
    figure = Figure(figsize=(progress.shape[1] / dpi, 18), dpi=dpi)
    axes = figure.add_subplot()
    axes.set_prop_cycle(cycler(linestyle=("-", "--", ":", "-.")) * rcParams["axes.prop_cycle"])  # first all colors, then a style
    for name, values in curves.items():
        axes.plot(range(len(values)), values, linewidth=4, marker="o" if len(values) == 1 else None, label=name)
    axes.set(xlabel="epoch", ylabel="pseudo dice by source", ylim=(0, 1))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(_NAMES_PER_ROW, max(1, len(curves))))
    figure.tight_layout()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panel = np.asarray(canvas.buffer_rgba())[..., :3]
    width = min(panel.shape[1], progress.shape[1])
    Image.fromarray(np.concatenate([progress[:, :width], panel[:, :width]])).save(output, format="PNG")
