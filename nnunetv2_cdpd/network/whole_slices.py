"""Tokens of whole slices: computed once for a volume, of which every patch takes those at its coordinates.

The ViT sees a slice as a whole, as it was trained to see images, with its own position embeddings, and not a crop of it; and no
slice is seen twice. What a patch takes is interpolated at the middles of its tokens' boxes, wherever augmentation has moved them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunetv2_cdpd.network.slice_encoder import SliceEncoder

SLICES_AT_ONCE = 8


@torch.no_grad()
def volume_tokens(encoder: SliceEncoder, image: Tensor) -> Tensor:
    """Tokens of all slices of an image (C, X, Y, Z), on the encoder's device: (maps, E, S, H, W) in half precision.

    The slice axis comes first in S, H, W; a network of 2D patches has slices along the first axis of the image.
    """
    device = encoder.mean.device
    slices, parts = encoder.slices(image[None].float()), []
    for some in slices.split(SLICES_AT_ONCE):
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            maps = encoder.maps_of(encoder.as_images(some.to(device)), encoder.token_maps)
        parts.append(torch.stack(maps).half())  # (maps, n, E, H, W)
    return torch.cat(parts, 1).transpose(1, 2).contiguous()


def tokens_at(tokens: Any, coordinates: Tensor, size: Sequence[int], slice_axis: int) -> Tensor:
    """Tokens of a patch: those of its volume, at the middles of the patch's own boxes.

    Args:
        tokens: (maps, E, S, H, W), a tensor or an array on disk, of which only the part around the patch is read.
        coordinates: (3, X, Y(, Z)), see coordinates.py.
        size: Boxes of the patch along S, H, W; along H, W in 2D.
        slice_axis: Of the volume's axes; 0 in 2D.

    Returns:
        (maps, E, *size), in single precision.
    """
    order = [slice_axis, *(axis for axis in range(3) if axis != slice_axis)]
    coordinates = coordinates[order]  # along S, H, W
    is_volume = coordinates.ndim == 4
    coordinates = coordinates.permute(0, *(1 + axis for axis in order)) if is_volume else coordinates[:, None]
    boxes = [1] * (3 - len(size)) + list(size)
    at = functional.interpolate(coordinates[None].float(), size=boxes, mode="trilinear", align_corners=False)[0]
    parts, sampled = [], []
    for along, length in zip(at, tokens.shape[2:]):
        index = ((along + 1) * length - 1) / 2  # in tokens
        first, last = (min(max(int(bound), 0), length - 1) for bound in (index.min().floor(), index.max().ceil()))
        parts.append(slice(first, last + 1))
        sampled.append((2 * (index - first) + 1) / (last + 1 - first) - 1)
    near = tokens[tuple([slice(None)] * 2 + parts)]
    near = torch.from_numpy(np.ascontiguousarray(near)) if isinstance(near, np.ndarray) else near
    grid = torch.stack(sampled[::-1], -1)[None].to(near.device)  # grid_sample's axes run the other way
    found = functional.grid_sample(near.flatten(0, 1)[None].float(), grid, padding_mode="border", align_corners=False)
    return found.view(*near.shape[:2], *size)


class VolumeTokens(nn.Module):
    """The tokens of the volume whose windows a network sees; a module without weights, so that it moves with the network.

    tokens: See `volume_tokens`; None: no volume was shown.
    """

    tokens: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tokens", None, persistent=False)

    def of_windows(self, coordinates: Tensor, size: Sequence[int], slice_axis: int) -> Tensor:
        """(B, maps, E, *size) of windows, by their coordinates (B, 3, X, Y(, Z))."""
        assert self.tokens is not None, "a volume is shown first"
        return torch.stack([tokens_at(self.tokens, window, size, slice_axis) for window in coordinates])
