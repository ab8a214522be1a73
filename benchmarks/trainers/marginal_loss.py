"""MarginalLoss: partial labels by softmax, after Shi et al. (arXiv 2007.03868); a baseline of ours.

Classes and background share one softmax. What a source does not annotate is part of its background: there the probability is
that of the background and all classes that are not annotated, in sum (marginal cross-entropy and Dice). Exclusion: the classes
that a source does not annotate do not overlap with those that it does, measured by a Dice that is to be small.

Of both losses this is the part that fits nnU-Net: Dice is that of annotated classes, as nnU-Net's leaves the background out,
so the merged background counts in the cross-entropy alone; exclusion is a Dice alone, without a cross-entropy.

The background's logit is 0: a softmax over K + 1 logits knows differences only. So a network with K outputs does for it. Of
the classes above 0, `cdpd predict` takes the one of the highest probability, and nnU-Net's prediction, with which the studies
of partial labels predict all networks of ours, the last one; they differ where two classes are both above the background.
"""

import torch
from torch import Tensor

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE
from nnunetv2_cdpd.training.loss import PartialLabelLoss

_SMOOTH = 1e-5


class MarginalLoss(PartialLabelLoss):
    """Marginal cross-entropy + marginal Dice + exclusion Dice, for classes that exclude each other.

    Args: those of PartialLabelLoss.

    Raises:
        ValueError: A dataset has unions of classes, which the paper does not have.
    """

    def _single_output(self, logits: Tensor, label_map: Tensor, tables: Tensor, sources: Tensor) -> Tensor:
        if self.unions:
            raise ValueError("merged labels are unions of classes, which the marginal loss does not know")
        logits = logits.flatten(2).float()  # (B, K, N)
        states = torch.stack([table[:, values] for table, values in zip(tables, label_map.flatten(1).long())])  # (B, K, N)
        scored = self.scored[sources]  # (B, K)
        log_p = torch.log_softmax(torch.cat([torch.zeros_like(logits[:, :1]), logits], 1), 1)
        positive = states == POSITIVE
        labelled = positive.any(1, keepdim=True)
        # Where a class is annotated, it is that one; elsewhere the background, or what is not excluded by the annotation.
        possible = torch.cat([~labelled, torch.where(labelled, positive, states != NEGATIVE)], 1)
        cross_entropy = -torch.logsumexp(log_p.masked_fill(~possible, float("-inf")), 1).mean()
        p = log_p[:, 1:].exp()
        dice = self._dice((p * positive).sum(2), p.sum(2), positive.sum(2), scored)
        return cross_entropy - dice + self._exclusion(p, labelled, ~scored)

    def _exclusion(self, p: Tensor, labelled: Tensor, unscored: Tensor) -> Tensor:
        """Mean Dice of classes that are not annotated with the voxels of those that are."""
        overlap, sizes = (p * labelled).sum(2), p.sum(2) + labelled.sum(2)
        return self._mean_over_processes((2 * overlap / (sizes + _SMOOTH) * unscored).sum(), unscored.sum())
