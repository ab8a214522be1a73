"""Fusion of a U-Net stage with its tokens, as the plans choose it: cross-attention either way or both, or a sum; and its gate.

Source of the sum and of the gate: Bachlechner et al., ReZero, arXiv 2003.04887, and Touvron et al., LayerScale, arXiv 2103.17239,
for parts that start as the identity.
"""

import torch
from torch import Tensor, nn

from nnunetv2_cdpd.network.cross_attention import WindowedCrossAttention
from nnunetv2_cdpd.network.vision_settings import BLOCKS, BOTH, CLOSED, QUERIES, SUM, VALUES

ASKING = {QUERIES: (True, True), VALUES: (False, False), BOTH: (True, False)}  # whether tokens ask, of each block


class TokenSum(nn.Module):
    """Features x and tokens y, both (B, C, X, Y(, Z)) -> x + linear(y).

    Args:
        channels: C.
        zero: The linear layer starts at zero.
    """

    def __init__(self, channels: int, zero: bool) -> None:
        super().__init__()
        self.project = nn.Linear(channels, channels)
        if zero:
            for parameter in self.project.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.project(y.movedim(1, -1)).movedim(-1, 1).to(x.dtype)


class GatedFusion(nn.Module):
    """x + scale * (fusion(x, y) - x), of a scale per channel that starts at zero: at first the features as they are."""

    def __init__(self, fusion: nn.Module, channels: int) -> None:
        super().__init__()
        self.fusion = fusion
        self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.scale.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2)) * (self.fusion(x, y) - x)


def make_fusion(channels: int, dim: int, kind: str, gate: str) -> nn.Module:
    """The fusion of a stage of so many channels and 2 or 3 axes; kind and gate: of VisionSettings."""
    zero = gate == BLOCKS  # behind a closed gate something must be there, or nothing would ever be learned
    fusion = TokenSum(channels, zero) if kind == SUM else WindowedCrossAttention(channels, dim, ASKING[kind], zero)
    return GatedFusion(fusion, channels) if gate == CLOSED else fusion
