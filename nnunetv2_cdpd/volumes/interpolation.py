"""Interpolation: images on another grid of the same box, by nnU-Net's rules, as one small matrix per axis.

On a regular grid a spline is interpolated one axis after the other, and each of these is a product with a matrix whose rows
fade out within about fifteen voxels (`volumes.splines`). scipy, with which nnU-Net does it, interpolates in all axes at once;
products of small dense matrices take a tenth of the time.
"""

from collections.abc import Mapping, Sequence
from functools import wraps
from multiprocessing import parent_process
from typing import Any

import numpy as np
import torch
from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis, resample_data_or_seg_to_shape
from torch import Tensor

from nnunetv2_cdpd.volumes.splines import across_matrix, spline_matrix

_NEGLIGIBLE = 1e-9  # weights below it are left out; a row's weights sum up to 1
_TILE = 32  # input voxels per product: longer ones hold more weights that are negligible, shorter ones overlap more


def along_axis(image: Tensor, axis: int, matrix: np.ndarray) -> Tensor:
    """The product of a matrix (outputs, inputs) with one axis of an image (x, y, z), in the image's type."""
    num_outputs, num_inputs = matrix.shape
    before, after = image.shape[:axis].numel(), image.shape[axis + 1 :].numel()
    lines = image.reshape(before, num_inputs, after)
    result = image.new_empty((*image.shape[:axis], num_outputs, *image.shape[axis + 1 :]))
    result_lines = result.view(before, num_outputs, after)
    per_tile = max(1, round(_TILE * num_outputs / num_inputs))
    for start in range(0, num_outputs, per_tile):
        rows = matrix[start : start + per_tile]
        used = np.flatnonzero(np.abs(rows).max(0) > _NEGLIGIBLE)
        inputs, outputs = slice(used[0], used[-1] + 1), slice(start, start + len(rows))
        weights = torch.from_numpy(np.ascontiguousarray(rows[:, inputs])).to(image)
        if after == 1:
            result_lines[:, outputs, 0] = lines[:, inputs, 0] @ weights.T
        else:
            torch.matmul(weights, lines[:, inputs], out=result_lines[:, outputs])
    return result


def resample_by_axis(
    data: np.ndarray | Tensor,
    new_shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    is_seg: bool = False,
    order: int = 3,
    order_z: int = 0,
    force_separate_z: bool | None = False,
    separate_z_anisotropy_threshold: float = ANISO_THRESHOLD,
) -> np.ndarray:
    """nnU-Net's `resample_data_or_seg_to_shape`, with its arguments, for images of floating-point numbers.

    Results differ from its own by rounding in the image's type. Label maps and other types are left to that function.

    Args:
        data: (C, X, Y, Z).
        new_shape: (X', Y', Z').
        current_spacing: Voxel size in mm, along with `new_spacing`; only their anisotropy matters.

    Returns:
        (C, X', Y', Z'), of the data's type; the data itself where the shape stays.
    """
    image = torch.from_numpy(np.ascontiguousarray(data)) if isinstance(data, np.ndarray) else data
    if is_seg or image.dtype not in (torch.float32, torch.float64):
        return resample_data_or_seg_to_shape(
            data,
            new_shape,
            current_spacing,
            new_spacing,
            is_seg,
            order,
            order_z,
            force_separate_z,
            separate_z_anisotropy_threshold,
        )
    new_shape = [int(n) for n in new_shape]
    separate, across = determine_do_sep_z_and_axis(
        force_separate_z, current_spacing, new_spacing, separate_z_anisotropy_threshold
    )
    make_matrix, orders = [spline_matrix] * 3, [order] * 3
    if separate:
        make_matrix[across], orders[across] = across_matrix, order_z
    matrices = {
        axis: make_matrix[axis](n, m, orders[axis]) for axis, (n, m) in enumerate(zip(image.shape[1:], new_shape)) if n != m
    }
    if not matrices:
        return image.numpy()
    return torch.stack([_resampled(channel, matrices, across if separate else None) for channel in image]).numpy()


@wraps(resample_by_axis, assigned=(), updated=())
def cdpd_resample_by_axis(*args: Any, **kwargs: Any) -> np.ndarray:
    """`resample_by_axis` as plans name it (`link.RESAMPLING`), for nnU-Net's own preprocessing, by which it is called.

    nnU-Net preprocesses in several processes; each is to take one core, as with nnU-Net's function, and not all of them.
    """
    if parent_process() is not None:
        torch.set_num_threads(1)
    return resample_by_axis(*args, **kwargs)


def _resampled(image: Tensor, matrices: Mapping[int, np.ndarray], across: int | None) -> Tensor:
    """One channel (x, y, z). Interpolated values stay within the range of the volume, or of their slice.

    Args:
        matrices: Of the axes that change.
        across: Axis across slices, where it is treated separately.
    """
    # The axis that shrinks most first, so that the next ones have less to do; the one across slices after these are clipped.
    within = sorted(matrices.keys() - {across}, key=lambda axis: len(matrices[axis]) / image.shape[axis])
    axes = [axis for axis in range(3) if axis != across]
    lowest, highest = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    for axis in within:
        image = along_axis(image, axis, matrices[axis])
    if within:
        image = image.clamp_(lowest, highest)
    return image if across is None or across not in matrices else along_axis(image, across, matrices[across])
