"""Coordinates: where in its image a patch lies, told by further channels of the patch, and what tokens may be made of them.

The channels are one per axis of the preprocessed image, -1 and 1 at its outer borders, and so beyond them where a patch reaches
over a border. Whatever moves the image (rotation, zoom, mirroring, a crop) moves them with it, so that a token's coordinates are
right after any of them. They are made where the box of a patch is known: in the loader (training/coordinates.py), and for a whole
image before its windows are cut.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

COORDINATE_CHANNELS = 3  # in 2D too, where the first one is the same all over a patch
FREQUENCIES = 4
COORDINATE_VOXELS = 4.0  # of a cell in its plane, unless the plans say `slice_scale`


def coordinates_of_box(lower: Sequence[int], upper: Sequence[int], shape: Sequence[int] | np.ndarray) -> Tensor:
    """(3, X, Y, Z): the coordinates of every voxel of a box within an image of a shape, or partly beyond.

    Args:
        lower: First voxel along each axis.
        upper: The one after the last.
        shape: Of the image.
    """
    axes = [(2 * torch.arange(low, high) + 1) / length - 1 for low, high, length in zip(lower, upper, shape)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def with_coordinates(padded: Tensor, inside: Sequence[slice]) -> Tensor:
    """(C, X, Y, Z) -> (C + 3, X, Y, Z): a padded image, and behind it the coordinates of each voxel in the image itself.

    Args:
        inside: Where in it the image lies, along each axis.
    """
    shape = [part.stop - part.start for part in inside]
    upper = [length - part.start for length, part in zip(padded.shape[1:], inside)]
    coordinates = coordinates_of_box([-part.start for part in inside], upper, shape)
    return torch.cat([padded, coordinates.to(padded.device, padded.dtype)])


class CoordinateTokens(nn.Module):
    """(B, 3, X, Y(, Z)) coordinates of each voxel of a patch -> `num_maps` equal token grids (B, 24, S, h, w), of them only.

    A control for what a vision encoder sees: sines and cosines of the coordinates at the middle of each token's box, of one half
    period over the image, and of 2, 4 and 8. The slice axis comes first, as SliceEncoder has it; in 2D (B, 24, h, w).

    Args:
        num_maps: How many.
        slice_axis: As SliceEncoder's, like the next two.
        slice_step: See there.
        slice_scale: See there; None: 4 voxels.
    """

    embed_dim = 2 * FREQUENCIES * COORDINATE_CHANNELS

    def __init__(self, *, num_maps: int, slice_axis: int = 0, slice_step: int = 1, slice_scale: float | None = None) -> None:
        super().__init__()
        self.num_maps = num_maps
        self.slice_axis = slice_axis
        self.slice_step = slice_step
        self.voxels = COORDINATE_VOXELS if slice_scale is None else slice_scale

    def forward(self, coordinates: Tensor) -> list[Tensor]:
        if coordinates.ndim == 5:
            coordinates = coordinates.movedim(2 + self.slice_axis, 2)  # (B, 3, X, H, W)
        *slices, height, width = coordinates.shape[2:]
        size = [*(math.ceil(n / self.slice_step) for n in slices), *(max(1, round(n / self.voxels)) for n in (height, width))]
        at = functional.interpolate(coordinates, size=size, mode="trilinear" if slices else "bilinear", align_corners=False)
        angles = torch.cat([at * (torch.pi / 2 * 2**k) for k in range(FREQUENCIES)], 1)
        return [torch.cat([angles.sin(), angles.cos()], 1)] * self.num_maps
