"""Views: what student and teacher see of a batch of slices: crops, each through a window of its own, and masked patches.

As in DINOv2 two large crops and several small ones of each slice, without its changes of color. What differs for CT: gray values
are HU, so a view moves both ends of the window instead, by up to a quarter of its width, as protocols and contrast phases do. No
mirroring: tokens have to know left from right.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nnunetv2_cdpd.pretraining.settings import PretrainingSettings

JITTER = 0.25  # of the width of the window, by which each of its ends moves
LARGE, SMALL = (0.32, 1.0), (0.05, 0.32)  # shares of a slice
_LARGE_VIEWS = 2
_ASPECT = math.log(4 / 3)


@dataclass(frozen=True)
class Views:
    """Of b slices: (2 b, 3, G, G) and (n b, 3, L, L), all first views before all second ones, and (2 b, g, g) masked patches."""

    large: Tensor
    small: Tensor
    mask: Tensor


def clip_of(window_hu: tuple[float, float]) -> tuple[float, float]:
    """HU beyond which no view shows a difference."""
    reach = JITTER * (window_hu[1] - window_hu[0])
    return math.floor(window_hu[0] - reach), math.ceil(window_hu[1] + reach)


def make_views(
    slices: Sequence[Tensor],
    settings: PretrainingSettings,
    patch_size: int,
    normalised: Callable[[Tensor], Tensor],
    rng: np.random.Generator,
) -> Views:
    """Views of slices (H, W) in HU, on their device.

    Args:
        patch_size: Of the ViT, in pixels.
        normalised: The slice encoder's, images in [0, 1] -> as the ViT sees them.
    """

    def views(count: int, share: tuple[float, float], patches: int) -> Tensor:
        crops = [
            windowed(cropped(hu, share, rng), settings.window_hu, rng, patches * patch_size)
            for _ in range(count)
            for hu in slices
        ]
        if not crops:
            return torch.empty(0, 3, patches * patch_size, patches * patch_size, device=slices[0].device)
        return normalised(torch.stack(crops)[:, None].expand(-1, 3, -1, -1))

    large = views(_LARGE_VIEWS, LARGE, settings.global_patches)
    small = views(settings.local_views, SMALL, settings.local_patches)
    shape = (len(large), settings.global_patches, settings.global_patches)
    return Views(large, small, masked_patches(shape, int(rng.integers(1 << 32))).to(large.device))


def cropped(hu: Tensor, share: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """A part of a slice (H, W): a share of its area, of an aspect between 3/4 and 4/3, anywhere in it."""
    height, width = hu.shape
    area, aspect = rng.uniform(*share) * height * width, math.exp(rng.uniform(-_ASPECT, _ASPECT))
    rows = min(height, max(1, round(math.sqrt(area / aspect))))
    columns = min(width, max(1, round(math.sqrt(area * aspect))))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return hu[top : top + rows, left : left + columns]


def windowed(hu: Tensor, window_hu: tuple[float, float], rng: np.random.Generator, size: int) -> Tensor:
    """HU (H, W) through a window near the given one -> (size, size) in [0, 1]."""
    low, high = np.asarray(window_hu) + rng.uniform(-JITTER, JITTER, 2) * (window_hu[1] - window_hu[0])
    shown = ((hu.float() - low) / (high - low)).clamp(0, 1)
    return functional.interpolate(shown[None, None], (size, size), mode="bilinear", antialias=True)[0, 0]


def masked_patches(shape: tuple[int, int, int], seed: int) -> Tensor:
    """Blocks of patches (N, h, w) that the student does not see: a tenth to a half of half of the views, one patch at least."""
    from lightly.models.utils import random_block_mask

    state = random.getstate()  # of which lightly draws
    random.seed(seed)
    try:
        mask = random_block_mask(shape, min_num_masks_per_block=max(1, min(4, shape[1] * shape[2] // 64)))
    finally:
        random.setstate(state)
    mask[0, 0, 0] |= not mask.any()
    return mask
