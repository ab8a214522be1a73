"""Rotate and zoom label maps of many classes at the cost of one, coordinates exactly: nnU-Net's spatial augmentation anew.

batchgeneratorsv2 interpolates an indicator image for each label of a patch and keeps the label with the highest score, which
for 32 classes takes most of the loader's time. The same labels follow from the eight (in 2D: four) voxels around each
sample point alone: where they agree nothing is left to compute, elsewhere their interpolation weights are the votes.

The coordinates of each voxel (coordinates.py) grow evenly along each axis, so that they are known beyond the patch too.
"""

from functools import reduce
from itertools import product
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from torch import Tensor
from torch.nn.functional import pad


class LabelMapSpatialTransform(SpatialTransform):
    """A SpatialTransform, with its settings, for which a label map costs the same whatever number of labels it holds.

    Labels are those of its default (`mode_seg="bilinear"`, padding with a constant), up to rounding where two labels have
    the same score within float16.

    Raises:
        NotImplementedError: Other options for label maps; nnU-Net uses none.
    """

    def __init__(self, transform: SpatialTransform) -> None:
        self.__dict__.update(vars(transform))
        if (self.mode_seg, self.border_mode_seg, self.align_corners) != ("bilinear", "constant", False):
            raise NotImplementedError(
                "label maps are resampled with mode_seg='bilinear', border_mode_seg='constant', align_corners=False, got "
                f"{self.mode_seg!r}, {self.border_mode_seg!r}, {self.align_corners}"
            )

    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:
        if params["grid"] is None:  # nothing but a crop
            return super()._apply_to_segmentation(segmentation, **params)
        return resample_label_map(segmentation, params["grid"], int(self.padding_value_seg))

    def _apply_to_regr_target(self, regression_target: Tensor, **params: Any) -> Tensor:
        if params["grid"] is None:
            return super()._apply_to_regr_target(regression_target, **params)
        return evenly_growing_at(regression_target, params["grid"])


def faster_on_label_maps(transform: BasicTransform) -> BasicTransform:
    """A transform of nnU-Net's augmentation, or what does the same to label maps at less cost."""
    return LabelMapSpatialTransform(transform) if type(transform) is SpatialTransform else transform


def resample_label_map(label_map: Tensor, grid: Tensor, padding_value: int) -> Tensor:
    """Label with the largest sum of linear interpolation weights at each sample point; the nearest voxel's where two are equal.

    Args:
        label_map: (C, X, Y(, Z)) of any integer type.
        grid: (X', Y'(, Z'), 2 or 3) sample points as torch's grid_sample takes them, with align_corners=False.
        padding_value: Label of everything outside.

    Returns:
        (C, X', Y'(, Z')), of the label map's type.
    """
    dim = grid.shape[-1]
    padded = pad(label_map, (1, 1) * dim, value=padding_value)
    strides = [int(stride) for stride in padded.stride()[1:]]

    first, fractions = torch.zeros(grid.shape[:-1], dtype=torch.int32), []
    for axis in range(dim):  # grid_sample's coordinates run over the axes in reverse
        length = label_map.shape[1 + axis]
        position = ((grid[..., dim - 1 - axis] + 1) * length + 1) / 2  # in voxels of the padded map
        position.clamp_(0, length + 1)  # beyond, everything is padding
        lower = position.floor().clamp_(max=length)
        fractions.append((position - lower).flatten())
        first += lower.int() * strides[axis]
    first = first.flatten()

    corners = list(product((0, 1), repeat=dim))
    offsets = [sum(step * stride for step, stride in zip(corner, strides)) for corner in corners]
    channels = []
    for channel in padded:
        values = channel.flatten()
        labels = torch.stack([values.index_select(0, first + offset) for offset in offsets])  # (2^dim, N)
        result = labels[0].clone()
        undecided = (labels[1:] != labels[0]).any(0).nonzero().squeeze(1)
        if len(undecided):
            shares = [(1 - fraction[undecided], fraction[undecided]) for fraction in fractions]
            weights = [reduce(torch.mul, (share[step] for share, step in zip(shares, corner))) for corner in corners]
            result[undecided] = _vote(labels[:, undecided], torch.stack(weights))
        channels.append(result.view(grid.shape[:-1]))
    return torch.stack(channels)


def evenly_growing_at(field: Tensor, grid: Tensor) -> Tensor:
    """Values of a field that grows evenly along each axis, at sample points inside and outside of it.

    Args:
        field: (C, X, Y(, Z)), linear along each axis.
        grid: As `resample_label_map` takes it.

    Returns:
        (C, X', Y'(, Z')).
    """
    dim = grid.shape[-1]
    corner = field.flatten(1)[:, 0].view(-1, *[1] * dim)
    values = corner.expand(-1, *grid.shape[:-1])
    for axis in range(dim):
        length = field.shape[1 + axis]
        if length == 1:
            continue
        step = field.narrow(1 + axis, 1, 1).flatten(1)[:, 0].view(-1, *[1] * dim) - corner
        values = values + step * (((grid[..., dim - 1 - axis] + 1) * length - 1) / 2)
    return values


def _vote(labels: Tensor, weights: Tensor) -> Tensor:
    """Label with the largest sum of weights; labels and weights (2^dim, N) -> (N,)."""
    scores = torch.stack([(weights * (labels == label)).sum(0) for label in labels])
    scores = scores + 1e-6 * weights  # among equal sums the nearest voxel's
    return labels.gather(0, scores.argmax(0, keepdim=True))[0]
