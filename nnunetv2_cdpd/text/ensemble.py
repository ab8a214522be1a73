"""Prompt ensembles: one embedding of several sentences that say the same.

Source: Radford et al., CLIP, arXiv 2103.00020 (section 3.1.4): each embedding is normalised, their mean is normalised again. What
differs: the result gets the mean length of the embeddings, not 1, because other classes of the same table have the one sentence,
whose embedding is not normalised.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nnunetv2_cdpd.text.prompts import Wording, sentences


def ensembled(embeddings: Tensor, wordings: Sequence[Wording]) -> Tensor:
    """One embedding per class.

    Args:
        embeddings: (N, E), of all sentences of all classes, in their order.
        wordings: Of the K classes, N sentences in all.

    Returns:
        (K, E). The embedding of a lone sentence stays bit by bit.
    """
    parts = embeddings.split([len(sentences(wording)) for wording in wordings])
    return torch.cat([part if len(part) == 1 else _mean_direction(part) for part in parts])


def _mean_direction(embeddings: Tensor) -> Tensor:
    """(n, E) -> (1, E)."""
    direction = functional.normalize(functional.normalize(embeddings, dim=1).mean(0, keepdim=True), dim=1)
    return direction * embeddings.norm(dim=1).mean()
