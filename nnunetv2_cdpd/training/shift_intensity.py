"""ShiftIntensity: the released training's change of brightness, one number added to an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform


class ShiftIntensity(ImageOnlyTransform):
    """Add one number to an image, of at most `most` times its channel's window; further channels are left alone.

    Args:
        windows: (low, high) of each image channel, in normalised units.
    """

    def __init__(self, windows: Sequence[Sequence[float]], most: float) -> None:
        super().__init__()
        self.widths = [high - low for low, high in windows]
        self.most = most

    def get_parameters(self, **data_dict: Any) -> dict[str, float]:
        return {"shift": np.random.uniform(-self.most, self.most)}

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        for channel, width in zip(img, self.widths):
            channel += params["shift"] * width
        return img
