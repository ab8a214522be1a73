"""PartialLabelLoss: binary cross-entropy + soft Dice over the (voxel, class) pairs that the annotation supervises.

For every sample the annotation table of its source says, by stored value and class, whether a voxel is positive,
negative or not supervised (annotation/). Pairs that are not supervised get no gradient at all. A union of classes
(merged label, nested class with several possible parents) is one more output, computed from the logits of its classes.

    BCE   sum over all supervised pairs / number of supervised pairs of the classes that the source annotates. Negatives
          of other classes (a liver voxel is no spleen) weigh as much per voxel, and change nothing for annotated ones.
    Dice  nnU-Net's soft Dice, over annotated classes and unions only.

On a fully annotated source the value is that of nnU-Net's own loss for regions (DC_and_BCE_loss). With an ignore label nnU-Net
divides the sum over (voxel, class) pairs by voxels, so that BCE weighs K times as much as without one; here it weighs the same.

Source: CDPDNet, arXiv 2505.18958, section on partial labels; unlike its code, masked voxel by voxel and per sample.
"""

from collections.abc import Sequence

import torch
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, distributed, nn
from torch.nn.functional import interpolate

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.training.masked_sums import masked_sums
from nnunetv2_cdpd.training.zones import with_zones

_SMOOTH = 1e-5  # added to numerator and denominator of Dice, as in nnU-Net


class PartialLabelLoss(nn.Module):
    """BCE + soft Dice of one batch, restricted to what the sources of its samples annotate.

    Args:
        annotation: What each source annotates.
        weights: Weight of each deep-supervision output, finest first; (1.0,) without deep supervision.
        batch_dice: Compute Dice over the whole batch per class instead of per sample.
        guide_weight: Of the mean loss of further outputs, which a guide of the tokens gives in training.
        ddp: Gather over processes, so that the gradients (which DDP averages) are those of the joint batch.
    """

    tables: Tensor
    scored: Tensor

    def __init__(
        self,
        annotation: Annotation,
        *,
        weights: Sequence[float] = (1.0,),
        batch_dice: bool = False,
        guide_weight: float = 0.0,
        ddp: bool = False,
    ) -> None:
        super().__init__()
        self.guide_weight = guide_weight
        self.weights = tuple(float(weight) for weight in weights)
        self.batch_dice = batch_dice
        self.ddp = ddp
        self.register_buffer("tables", torch.from_numpy(annotation.tables).transpose(1, 2).contiguous())  # (S, K + U, V)
        self.register_buffer("scored", torch.from_numpy(annotation.scored))  # (S, K + U)
        self.ignore_value = annotation.ignore_value
        self.unions = tuple(tuple(int(k) for k in row.nonzero()[0]) for row in annotation.members)  # class indices

    def forward(self, output: Tensor | Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """Loss of a batch.

        Args:
            output: Logits (B, K, X, Y(, Z)), or a list of them with deep supervision, finest first; then those of a guide, of any
                size.
            target: The loader's target: one label map (B, 1, X, Y(, Z)) of stored values per output; where there are zones,
                one map of them per output and what is impossible in each, bool (B, zones, K); then the source indices (B,).

        Returns:
            Scalar; 0 with zero gradients where nothing is supervised.
        """
        outputs = [output] if isinstance(output, Tensor) else output
        levels = len(self.weights)
        label_maps, (*zoned, sources) = target[:levels], target[levels:]
        zone_maps, impossible = (zoned[:-1], zoned[-1]) if zoned else ([None] * levels, None)
        total = outputs[0].new_zeros((), dtype=torch.float32)
        for weight, logits, label_map, zones in zip(self.weights, outputs[:levels], label_maps, zone_maps, strict=True):
            if weight:
                tables = self.tables[sources]
                if zones is not None and impossible is not None:
                    label_map, tables = with_zones(label_map, zones, tables, impossible, self.unions, self.ignore_value)
                total = total + weight * self._single_output(logits, label_map, tables, sources)
        if guides := outputs[levels:]:
            finest = label_maps[0].float()  # which no label is too large for
            losses = [
                self._single_output(
                    logits,
                    interpolate(finest, logits.shape[2:], mode="nearest-exact").int(),
                    self.tables[sources],
                    sources,
                )
                for logits in guides
            ]
            total = total + self.guide_weight * torch.stack(losses).mean()
        return total

    def _single_output(self, logits: Tensor, label_map: Tensor, tables: Tensor, sources: Tensor) -> Tensor:
        sums = masked_sums(logits, label_map, tables, self.unions)
        scored = self.scored[sources] & (sums.supervised > 0)  # a pair whose voxels are all ignored says nothing about Dice
        bce = self._mean_over_processes(sums.bce.sum(), (sums.supervised * scored).sum())
        return bce - self._dice(sums.intersection, sums.predicted, sums.reference, scored)

    def _dice(self, intersection: Tensor, predicted: Tensor, reference: Tensor, scored: Tensor) -> Tensor:
        """Mean soft Dice of the scored (sample, class) pairs, or classes with batch Dice; all arguments (B, K + U)."""
        if not self.batch_dice:
            dice = (2 * intersection + _SMOOTH) / (reference + predicted + _SMOOTH)
            return self._mean_over_processes((dice * scored).sum(), scored.sum())
        columns = [(values * scored).sum(0) for values in (intersection, predicted, reference)]
        counts = scored.sum(0).to(predicted.dtype)
        if self.ddp:
            columns = [AllGatherGrad.apply(column).sum(0) for column in columns]
            distributed.all_reduce(counts)
        intersection, predicted, reference = columns
        present = counts > 0
        dice = (2 * intersection + _SMOOTH) / (reference + predicted + _SMOOTH)
        return (dice * present).sum() / present.sum().clamp(min=1)

    def _mean_over_processes(self, total: Tensor, count: Tensor) -> Tensor:
        """total / count over all processes, scaled so that the average of the processes is the joint mean."""
        count = count.to(total.dtype)
        if self.ddp:
            distributed.all_reduce(count)
            total = total * distributed.get_world_size()
        return total / count.clamp(min=1)
