"""PretrainingSettings: all that decides what a pretraining gives, so that one that is continued is the same one."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.pretrained.encoders import DINOV2
from nnunetv2_cdpd.released.preprocessing import HU_WINDOW

ENCODER = DINOV2["dinov2"]
ITERATIONS = 10_000
_LR_PER_SLICE = 5e-4 / 256  # DINO's rule, arXiv 2104.14294


@dataclass(frozen=True)
class PretrainingSettings:
    """What the user chooses, and the numbers of the recipe.

    encoder: timm name of a ViT with absolute position embeddings.
    model_kwargs: Further arguments of timm's create_model.
    epochs: Each shows as many slices as there are; None: `iterations` counts.
    iterations: None: ITERATIONS, unless epochs are given.
    batch_size: Slices per iteration, of all processes together.
    lr: Peak of the learning rate; None: 5e-4 for 256 slices, in proportion.
    window_hu: (low, high) in HU that the slice encoder sees as 0 and 1.
    slices_per_image: At most, spread evenly over those that show a body.
    global_patches, local_patches: Side of the large and the small crops in patches of the ViT.
    local_views: Small crops of a slice, beside two large ones.
    head_width: Of the hidden layers of each head.
    prototypes: Outputs of each head, K in DINO.
    """

    encoder: str = ENCODER
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    iterations: int | None = None
    batch_size: int = 64
    lr: float | None = None
    seed: int = 0
    window_hu: tuple[float, float] = HU_WINDOW
    slices_per_image: int = 128
    global_patches: int = 16
    local_patches: int = 7
    local_views: int = 8
    head_width: int = 2048
    prototypes: int = 8192

    def check(self, num_processes: int) -> None:
        """Raise UserError for a number that cannot be.

        Args:
            num_processes: That share the batch.
        """
        check_at_least(1, epochs=self.epochs, iterations=self.iterations, slices_per_image=self.slices_per_image)
        check_at_least(0, seed=self.seed)
        if self.epochs is not None and self.iterations is not None:
            raise UserError("argument epochs and argument iterations: both say how long; give one of them")
        if self.batch_size < 2 * num_processes or self.batch_size % num_processes:
            of = f" for each of {num_processes} processes, and as many for each" if num_processes > 1 else ""
            raise UserError(f"argument batch_size {self.batch_size}: slices are compared with each other; give 2 or more{of}")
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise UserError(f"argument lr {self.lr}: give a number above 0")
        low, high = self.window_hu
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"argument window_hu {low:g} {high:g}: give the lower HU, then the higher one")

    def resolved(self, num_slices: int) -> "PretrainingSettings":
        """With iterations and learning rate as they follow from the others; epochs are iterations from here on."""
        iterations = self.iterations or ITERATIONS
        if self.epochs is not None:
            iterations = math.ceil(self.epochs * num_slices / self.batch_size)
        lr = self.lr if self.lr is not None else _LR_PER_SLICE * self.batch_size
        return replace(self, epochs=None, iterations=iterations, lr=lr)

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "model_kwargs": dict(self.model_kwargs), "window_hu": list(self.window_hu)}


SETTINGS = tuple(each.name for each in fields(PretrainingSettings))


def check_same(was: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raise UserError for the first entry of a run that is there and to be continued that is another one now.

    Args:
        where: The file that tells of it.
    """
    for name in now:
        if was.get(name) != now[name]:
            what = f"argument {name}" if name in SETTINGS else name
            raise UserError(
                f"{where}: of a run with another setting, {what}: {_told(was.get(name))}, now {_told(now[name])}; go on with "
                "that one, or give another argument output"
            )


def _told(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else "nothing" if value is None else str(value)
