"""Counts for the pseudo Dice during training, restricted to what the source of each sample annotates."""

import torch
from torch import Tensor

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED
from nnunetv2_cdpd.loss import PartialLabelLoss


@torch.no_grad()
def counts_per_source(logits: Tensor, label_map: Tensor, sources: Tensor, loss: PartialLabelLoss) -> Tensor:
    """True positives, false positives and false negatives of a batch.

    Args:
        logits: (B, K, X, Y(, Z)).
        label_map: (B, 1, X, Y(, Z)) stored values.
        sources: (B,) source indices.
        loss: Holds the annotation tables on the right device.

    Returns:
        float64 (3, S, K + U) voxel counts tp, fp, fn; 0 for classes and unions that the source cannot be scored on.
    """
    predicted = logits.flatten(2) > 0  # probability above 0.5
    unions = [predicted[:, members].any(1) for members in loss.members.to(predicted.device)]
    predicted = torch.cat([predicted, torch.stack(unions, 1)], 1) if unions else predicted
    tables = loss.tables[sources]
    states = tables.gather(2, label_map.flatten(2).long().expand(-1, tables.shape[1], -1))
    positive, negative = states == POSITIVE, (states != UNSUPERVISED) & (states != POSITIVE)
    counts = torch.stack([(predicted & positive).sum(2), (predicted & negative).sum(2), (~predicted & positive).sum(2)])
    counts = counts.double() * loss.scored[sources]  # (3, B, K + U)
    per_source = counts.new_zeros(3, loss.tables.shape[0], counts.shape[2])
    return per_source.index_add_(1, sources, counts)
