"""Degraded images: what a calibration predicts besides the images themselves, so that it has seen bad predictions.

A good model has hardly any among its validation cases, and what it does to an image unlike them is what a quality is asked
for. The images are degraded as the network sees them: in normalised intensities and on the network's grid.
"""

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from nnunetv2_cdpd.volumes.axes import in_all_channels

_NOISE = 1.0  # standard deviation, in that of the training images' intensities
_BLUR = 1.5  # standard deviation of the Gaussian, in voxels of the network's grid
_KEPT = 0.55  # of the longest side, of an image that is cut
_LEAST = 8  # voxels of a side that is cut, for there to be an image left
Part = tuple[slice, ...]


def _with_noise(data: Tensor, spacing: Sequence[float], case: str) -> tuple[Tensor, Part]:
    drawn = np.random.default_rng(crc32(case.encode())).normal(0, _NOISE, tuple(data.shape)).astype(np.float32)
    return data + torch.from_numpy(drawn), _whole(data)


def _blurred(data: Tensor, spacing: Sequence[float], case: str) -> tuple[Tensor, Part]:
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(np.stack([gaussian_filter(channel, _BLUR) for channel in data.numpy()])), _whole(data)


def _cut(data: Tensor, spacing: Sequence[float], case: str) -> tuple[Tensor, Part]:
    """A smaller field of view: the beginning or the end of the longest side, the one or the other by the case's name."""
    axis = int(np.argmax(np.multiply(data.shape[1:], spacing)))
    length = data.shape[1 + axis]
    kept = max(min(length, _LEAST), round(_KEPT * length))
    first = crc32(case.encode()) % 2 * (length - kept)
    box = list(_whole(data))
    box[axis] = slice(first, first + kept)
    return data[in_all_channels(box)].contiguous(), tuple(box)


def _whole(data: Tensor) -> Part:
    return tuple(slice(0, length) for length in data.shape[1:])


# Name in the records -> (preprocessed image (C, x, y, z), its spacing in mm, case identifier) to the degraded one, and which
# part of the image it is.
DEGRADATIONS: dict[str, Callable[[Tensor, Sequence[float], str], tuple[Tensor, Part]]] = {
    "noise": _with_noise,
    "blur": _blurred,
    "cut": _cut,
}
