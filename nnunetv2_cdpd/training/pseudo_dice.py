"""Counts for the pseudo Dice during training, restricted to what the source of each sample annotates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE
from nnunetv2_cdpd.training.loss import PartialLabelLoss


@torch.no_grad()
def counts_per_source(logits: Tensor, label_map: Tensor, sources: Tensor, loss: PartialLabelLoss) -> Tensor:
    """True positives, false positives and false negatives of a batch.

    Args:
        logits: (B, K, X, Y(, Z)).
        label_map: (B, 1, X, Y(, Z)) stored values.
        sources: (B,) source indices.
        loss: Holds the annotation tables on the right device.

    Returns:
        int64 (3, S, K + U) voxel counts tp, fp, fn; 0 for classes and unions that the source cannot be scored on.
    """
    tables = loss.tables[sources]
    counts = torch.stack(
        [
            _counts_of_sample(predicted, values, states, loss.unions)
            for predicted, values, states in zip(logits.flatten(2) > 0, label_map.flatten(1).int(), tables)  # p > 0.5
        ],
        1,
    )
    counts = counts * loss.scored[sources]  # (3, B, K + U); integers, since not every device has double precision
    per_source = counts.new_zeros(3, loss.tables.shape[0], counts.shape[2])
    return per_source.index_add_(1, sources, counts)


def _counts_of_sample(predicted: Tensor, values: Tensor, states: Tensor, unions: Sequence[Sequence[int]]) -> Tensor:
    """(3, K + U) voxel counts of one sample; predicted: bool (K, N), values: (N,), states: (K + U, V)."""
    # each class by its number: a list of them is sent to a GPU, which is waited for
    predicted = torch.cat([predicted, *(torch.stack([predicted[k] for k in union]).any(0, keepdim=True) for union in unions)])
    positive = (states == POSITIVE).index_select(1, values)
    negative = (states == NEGATIVE).index_select(1, values)
    return torch.stack([(predicted & positive).sum(1), (predicted & negative).sum(1), (~predicted & positive).sum(1)])
