"""TokenAdaptor: brings the ViT's tokens to the channels and the size of a U-Net stage.

Source: CDPDNet, arXiv 2505.18958. What differs from the released code: tokens keep the place of the voxels that they came
from (the release drops the last slices and stretches the rest), and the norm works for a batch or grid of any size.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class TokenAdaptor(nn.Module):
    """Token grid (B, E, S, h, w) -> (B, C, X', Y', Z') at the size of a stage; (B, E, h, w) -> (B, C, Y', Z') in 2D.

    Args:
        embed_dim: E, width of the tokens.
        channels: C, features of the stage.
        dim: 2 or 3 spatial axes.
        slice_axis: Where the grid's slice axis lies in the volume.
    """

    def __init__(self, embed_dim: int, channels: int, dim: int, slice_axis: int = 0) -> None:
        super().__init__()
        conv = nn.Conv3d if dim == 3 else nn.Conv2d
        self.slice_axis = slice_axis
        self.mode = "trilinear" if dim == 3 else "bilinear"
        self.norm = nn.LayerNorm(embed_dim)
        self.project = nn.Linear(embed_dim, channels)
        self.context = nn.Sequential(nn.GELU(), conv(channels, channels, 3, padding=1))

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        x = self.project(self.norm(tokens.movedim(1, -1))).movedim(-1, 1)  # (B, C, S, h, w)
        x = x + self.context(x)
        if x.ndim == 5:
            x = x.movedim(2, 2 + self.slice_axis)
        # Each token stands for its own box of voxels, so grid and stage share their outer borders, not their corners.
        return functional.interpolate(x, size=tuple(size), mode=self.mode, align_corners=False)
