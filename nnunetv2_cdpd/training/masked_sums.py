"""The sums over voxels that BCE and soft Dice are made of, masked by annotation, without a copy of the logits.

Thirty-two heads at full resolution are the largest tensor of a training step. Autograd would keep several float32 copies
of it for the backward pass; here nothing is kept but the logits, and the backward pass computes its few terms again, some
voxels at a time, straight into the gradient (benchmarks/loss.py measures the peak).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED

# Logits that are worked on at a time: few enough for a CPU's cache, enough for a GPU to be busy and small beside the rest.
CPU_CHUNK, GPU_CHUNK = 2**17, 2**22


class MaskedSums(NamedTuple):
    """Sums over the supervised voxels of every (sample, column), each (B, K + U), in float32 or the logits' double.

    bce: Binary cross-entropy.
    intersection: Probability at positive voxels.
    predicted: Probability.
    supervised: Number of supervised voxels; has no gradient.
    reference: Number of positive voxels; has no gradient.
    """

    bce: Tensor
    intersection: Tensor
    predicted: Tensor
    supervised: Tensor
    reference: Tensor


def masked_sums(logits: Tensor, label_map: Tensor, tables: Tensor, unions: Sequence[Sequence[int]]) -> MaskedSums:
    """Sum BCE terms and probabilities over supervised voxels.

    Args:
        logits: (B, K, X, Y(, Z)).
        label_map: (B, 1, X, Y(, Z)) stored values, all below V.
        tables: uint8 (B, K + U, V): annotation state of each stored value under each sample's source.
        unions: Class indices of each of the U unions, whose columns follow the classes'.
    """
    members = tuple(tuple(union) for union in unions)
    return MaskedSums(*_MaskedSums.apply(logits, label_map.flatten(1).int(), tables, members))


def union_logit(logits: Sequence[Tensor] | Tensor) -> Tensor:
    """Logit of "at least one of these": p = 1 - prod(1 - p_k) without leaving log space; (M, ...) -> (...)."""
    union = logits[0]
    for other in logits[1:]:
        # odds of (a or b) = (1 + odds a)(1 + odds b) - 1 = odds a + odds b + odds a * odds b
        union = torch.logaddexp(torch.logaddexp(union, other), union + other)
    return union


class _MaskedSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, values: Tensor, tables: Tensor, unions: tuple[tuple[int, ...], ...]
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, values, tables)
        ctx.unions = unions
        dtype, flat = _working_dtype(logits), logits.flatten(2)
        supervised_by_value, positive_by_value = (tables != UNSUPERVISED).to(dtype), (tables == POSITIVE).to(dtype)
        sums = torch.zeros(5, *tables.shape[:2], dtype=dtype, device=logits.device)
        for sample, voxels in _chunks(flat):
            x, index = _with_unions(flat[sample, :, voxels], unions, dtype), values[sample, voxels]
            supervised = supervised_by_value[sample].index_select(1, index)
            positive = positive_by_value[sample].index_select(1, index)
            sums[3, sample] += supervised.sum(1)
            sums[4, sample] += positive.sum(1)
            sums[0, sample] += functional.softplus(x).mul_(supervised).addcmul_(x, positive, value=-1).sum(1)
            probability = torch.sigmoid(x)
            sums[1, sample] += positive.mul_(probability).sum(1)  # in place: what a chunk holds is to stay in a CPU's cache
            sums[2, sample] += supervised.mul_(probability).sum(1)
        bce, intersection, predicted, supervised, reference = sums.unbind()
        ctx.mark_non_differentiable(supervised, reference)
        return bce, intersection, predicted, supervised, reference

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_bce: Tensor, grad_intersection: Tensor, grad_predicted: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        logits, values, tables = ctx.saved_tensors
        dtype = _working_dtype(logits)
        supervised, positive = (tables != UNSUPERVISED).to(dtype), (tables == POSITIVE).to(dtype)
        # d/dx of the three sums is (p - positive) * supervised, p (1 - p) * positive and p (1 - p) * supervised. What they
        # are multiplied with depends on the stored value alone, so it is looked up like an annotation state.
        of_probability = supervised * grad_bce[..., None]
        of_positive = positive * grad_bce[..., None]
        of_slope = positive * grad_intersection[..., None] + supervised * grad_predicted[..., None]
        flat, num_classes = logits.flatten(2), logits.shape[1]
        gradient = torch.empty_like(flat)  # lies as the logits do, channels last as well
        for sample, voxels in _chunks(flat):
            x, index = _with_unions(flat[sample, :, voxels], ctx.unions, dtype), values[sample, voxels]
            probability = torch.sigmoid(x)
            slope = of_slope[sample].index_select(1, index)
            change = torch.ops.aten.sigmoid_backward(slope, probability)  # slope * (1 - p) * p in one pass, exact near 1
            change.addcmul_(probability, of_probability[sample].index_select(1, index))
            positive = of_positive[sample].index_select(1, index)
            if ctx.unions:
                change -= positive
                for column, union in enumerate(ctx.unions, start=num_classes):
                    for k in union:  # d logit of the union / d logit of a member = p_k / p_union
                        share = torch.exp(functional.logsigmoid(x[k]) - functional.logsigmoid(x[column]))
                        change[k] += change[column] * share
                gradient[sample, :, voxels] = change[:num_classes]
            else:
                torch.sub(change, positive, out=gradient[sample, :, voxels])
        return gradient.view(logits.shape), None, None, None


def _working_dtype(logits: Tensor) -> torch.dtype:
    """Half precision cannot hold sums over voxels; double (gradcheck) stays as it is."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _chunks(flat: Tensor) -> Iterator[tuple[int, slice]]:
    """Sample and range of its voxels, N at most, so that a chunk of (B, K, N) is about as large as is good for the device."""
    batch, num_classes, num_voxels = flat.shape
    step = max(1, (CPU_CHUNK if flat.device.type == "cpu" else GPU_CHUNK) // num_classes)
    for sample in range(batch):
        for start in range(0, num_voxels, step):
            yield sample, slice(start, min(start + step, num_voxels))


def _with_unions(chunk: Tensor, unions: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> Tensor:
    """Logits of a chunk (K, n) -> (K + U, n): of the classes, then of the unions."""
    num_classes, num_voxels = chunk.shape
    x = chunk.new_empty(num_classes + len(unions), num_voxels, dtype=dtype)
    x[:num_classes] = chunk
    for column, union in enumerate(unions, start=num_classes):
        x[column] = union_logit([x[k] for k in union])  # not x[list]: a list is sent to a GPU, which is waited for
    return x
