"""Degraded images: what a calibration predicts besides the images themselves, so that it has seen bad predictions.

A good model has hardly any among its validation cases, and what it does to an image unlike them is what a quality is asked
for. The images are degraded as the network sees them: in normalised intensities and on the network's grid.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_NOISE = 1.0  # standard deviation, in that of the training images' intensities
_BLUR = 1.5  # standard deviation of the Gaussian, in voxels of the network's grid


def _with_noise(data: Tensor) -> Tensor:
    drawn = np.random.default_rng(0).normal(0, _NOISE, tuple(data.shape)).astype(np.float32)
    return data + torch.from_numpy(drawn)


def _blurred(data: Tensor) -> Tensor:
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(np.stack([gaussian_filter(channel, _BLUR) for channel in data.numpy()]))


# Name in the records -> (C, x, y, z) preprocessed images to degraded ones.
DEGRADATIONS: dict[str, Callable[[Tensor], Tensor]] = {"noise": _with_noise, "blur": _blurred}
