"""Text: embeddings of the class and task prompts, and the modulation of features by them (FiLM).

The embeddings are given (CLIP) or learned; a small projection turns them into text features, from which every modulated
stage reads one scale and one shift per channel. Both are the same for every image, so they cost nothing per voxel.

Source: CDPDNet, arXiv 2505.18958 ("Alignment"); Perez et al., FiLM, arXiv 1709.07871. What differs from the released code:
the scale starts at 1 (released: around 0 with random sign), and the weights keep an axis of prompts, so that prompts can
be added without changing what was learned.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

TEXT_CHANNELS = 64


class PromptEmbeddings(nn.Module):
    """N prompts: their embeddings (N, E), and a projection of them to text features (N, F).

    Args:
        num_prompts: N.
        embed_dim: E.
        learned: True: the embeddings are trained, random at first; False: fixed, given by `set`.
        text_channels: F.
    """

    def __init__(self, num_prompts: int, embed_dim: int, learned: bool, text_channels: int = TEXT_CHANNELS) -> None:
        super().__init__()
        # CLIP's ViT-B/32 embeddings have a standard deviation of 0.4
        self.embeddings = nn.Parameter(0.4 * torch.randn(num_prompts, embed_dim), requires_grad=learned)
        self.register_buffer("embeddings_set", torch.tensor(learned))
        self.project = nn.Sequential(nn.Linear(embed_dim, text_channels), nn.ReLU())

    @torch.no_grad()
    def set(self, embeddings: Tensor) -> None:
        """Fill the embeddings.

        Raises:
            ValueError: Their shape is not (N, E).
        """
        if embeddings.shape != self.embeddings.shape:
            raise ValueError(
                f"text embeddings must be {tuple(self.embeddings.shape)} (prompts, width), got {tuple(embeddings.shape)}"
            )
        self.embeddings.copy_(embeddings)
        self.embeddings_set.fill_(True)

    def forward(self) -> Tensor:
        return self.project(self.embeddings)


class Affine(NamedTuple):
    """What text says of C channels, the same for every image: scale (C,) and shift (C,)."""

    scale: Tensor
    shift: Tensor


class TextModulation(nn.Module):
    """Scale and shift every channel of (B, C, X, Y(, Z)) by what `affine` makes of text features; the identity at first.

    Args:
        num_prompts: N.
        channels: C.
        text_channels: F.
    """

    def __init__(self, num_prompts: int, channels: int, text_channels: int = TEXT_CHANNELS) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels, num_prompts, text_channels))
        self.shift = nn.Parameter(torch.zeros(channels, num_prompts, text_channels))

    def forward(self, x: Tensor, affine: Affine) -> Tensor:
        scale, shift = (term.view(1, -1, *[1] * (x.ndim - 2)).to(x.dtype) for term in affine)
        return x * scale + shift

    def affine(self, text_features: Tensor) -> Affine:
        """Scale and shift per channel from text features (N, F)."""
        return Affine(1 + summed_over_prompts(self.scale, text_features), summed_over_prompts(self.shift, text_features))


def summed_over_prompts(weight: Tensor, text_features: Tensor) -> Tensor:
    """Weight (C, N, F) and text features (N, F) -> (C,): every prompt has its own weights, and their products add up."""
    return torch.einsum("cnf,nf->c", weight, text_features)
