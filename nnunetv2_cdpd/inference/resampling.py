"""Resampling of logits to the grid of the image, box by box, with one small matrix per axis (`volumes.axes`)."""

import inspect
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from nnunetv2_cdpd.volumes.axes import AxisResampling, Range, ResamplingRule


def axis_matrix(
    axis: AxisResampling, outputs: Range, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """(outputs, inputs of that range) of an axis."""
    return torch.from_numpy(axis.matrix(outputs)).to(device, dtype)


def resampled(box: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(n, x, y, z) and three matrices (X, x), (Y, y), (Z, z) -> (n, X, Y, Z); the last axis last, where the most is to do."""
    n, x, y, z = box.shape
    box = torch.matmul(matrices[0], box.reshape(n, x, y * z)).reshape(-1, y, z)  # (n * X, y, z)
    box = torch.matmul(matrices[1], box)  # (n * X, Y, z)
    box = torch.matmul(box.reshape(-1, z), matrices[2].T)
    return box.reshape(n, matrices[0].shape[0], matrices[1].shape[0], matrices[2].shape[0])


def resampling_rule(function: partial) -> ResamplingRule | None:
    """What one of nnU-Net's functions for resampling images or logits does; None of another one.

    Args:
        function: `resampling_fn_data` or `resampling_fn_probabilities` of a configuration.
    """
    given = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    order = order_z = None  # in slices, and across them where that axis is treated separately
    if function.func.__name__ in ("resample_data_or_seg_to_shape", "cdpd_resample_by_axis"):
        order, order_z = given["order"], given["order_z"]
    elif function.func.__name__ == "resample_torch_fornnunet":
        modes = {"nearest-exact": 0, "linear": 1}
        order, order_z = {"linear": 1}.get(given["mode"]), modes.get(given["aniso_axis_mode"])
    if order is None or order_z is None or given["is_seg"]:
        return None
    return ResamplingRule(order, order_z, given["force_separate_z"], given["separate_z_anisotropy_threshold"])


def interpolation_kinds(
    resampling_fn: partial, current_spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[str, ...] | None:
    """What nnU-Net's function for resampling logits does along each axis.

    Args:
        resampling_fn: `resampling_fn_probabilities` of a configuration.
        current_spacing: Of the logits in mm, in the network's order of axes.
        new_spacing: Of the image, likewise.

    Returns:
        LINEAR or NEAREST per axis; None where the function does something else.
    """
    rule = resampling_rule(resampling_fn)
    return None if rule is None else rule.linear_kinds(current_spacing, new_spacing)
