"""Resampling of logits to the grid of the image, box by box: nnU-Net's interpolation as one small matrix per axis.

Linear interpolation of a volume is linear interpolation along one axis after the other, and each of these is a product with
a matrix with at most two entries per row. Any box of the result is computed from the few voxels that it needs, so that
nothing else is ever held.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis
from torch import Tensor

LINEAR, NEAREST = "linear", "nearest"
Range = tuple[int, int]  # start, stop


@dataclass(frozen=True)
class AxisResampling:
    """One axis: result i is `(1 - fraction[i]) * input[lower[i]] + fraction[i] * input[upper[i]]`.

    num_inputs: Voxels before.
    """

    num_inputs: int
    lower: np.ndarray
    upper: np.ndarray
    fraction: np.ndarray

    @classmethod
    def of(cls, num_inputs: int, num_outputs: int, kind: str) -> "AxisResampling":
        """Voxels of both grids share their outer borders; beyond the middle of the first and last voxel the value stays."""
        # As one division and in double, so that both grids fall on each other exactly where they should.
        position = (2 * np.arange(num_outputs) + 1) * num_inputs / (2 * num_outputs) - 0.5
        if kind == NEAREST:
            nearest = np.clip(np.floor(position + 0.5).astype(int), 0, num_inputs - 1)
            return cls(num_inputs, nearest, nearest, np.zeros(num_outputs))
        position = np.clip(position, 0, num_inputs - 1)
        lower = np.floor(position).astype(int)
        return cls(num_inputs, lower, np.minimum(lower + 1, num_inputs - 1), position - lower)

    @property
    def num_outputs(self) -> int:
        return len(self.lower)

    @property
    def last(self) -> np.ndarray:
        """The last input voxel that a voxel of the result needs; it may need the one before too."""
        return np.where(self.fraction > 0, self.upper, self.lower)

    def inputs_of(self, outputs: Range) -> Range:
        """The input voxels that a range of the result needs."""
        start, stop = outputs
        return int(self.lower[start]), int(self.last[stop - 1]) + 1

    def outputs_of(self, inputs: Range) -> Range:
        """The voxels of the result whose last input voxel lies in a range."""
        start, stop = np.searchsorted(self.last, inputs).tolist()
        return start, stop

    def matrix(self, outputs: Range, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
        """(outputs, inputs of that range)."""
        first, last = self.inputs_of(outputs)
        rows = np.arange(outputs[1] - outputs[0])
        part = slice(*outputs)
        weights = np.zeros((len(rows), last - first))
        weights[rows, self.lower[part] - first] += 1 - self.fraction[part]
        used = self.fraction[part] > 0
        weights[rows[used], self.upper[part][used] - first] += self.fraction[part][used]
        return torch.from_numpy(weights).to(device, dtype)

    def tiles(self, voxels: int, outputs: Range) -> list[Range]:
        """Ranges that cover a range of the result, of about so many voxels each, or made from so many input voxels."""
        start, stop = outputs
        first, last = self.inputs_of(outputs)
        count = min(max(1, round(max(stop - start, last - first) / voxels)), stop - start)
        borders = np.linspace(start, stop, count + 1).round().astype(int).tolist()
        return list(pairwise(borders))


def axis_resamplings(kinds: Sequence[str], shape: Sequence[int], new_shape: Sequence[int]) -> tuple[AxisResampling, ...]:
    """The resampling of each axis between two shapes."""
    return tuple(AxisResampling.of(int(n), int(m), kind) for n, m, kind in zip(shape, new_shape, kinds))


def resampled(box: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(n, x, y, z) and three matrices (X, x), (Y, y), (Z, z) -> (n, X, Y, Z); the last axis last, where the most is to do."""
    n, x, y, z = box.shape
    box = torch.matmul(matrices[0], box.reshape(n, x, y * z)).reshape(-1, y, z)  # (n * X, y, z)
    box = torch.matmul(matrices[1], box)  # (n * X, Y, z)
    box = torch.matmul(box.reshape(-1, z), matrices[2].T)
    return box.reshape(n, matrices[0].shape[0], matrices[1].shape[0], matrices[2].shape[0])


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
    given = {name: parameter.default for name, parameter in inspect.signature(resampling_fn).parameters.items()}
    within = across = None  # the axes of a slice, and the one across slices where it is treated separately
    if resampling_fn.func.__name__ == "resample_data_or_seg_to_shape":
        orders = {0: NEAREST, 1: LINEAR}
        within, across = orders.get(given["order"]), orders.get(given["order_z"])
    elif resampling_fn.func.__name__ == "resample_torch_fornnunet":
        modes = {"nearest-exact": NEAREST, "linear": LINEAR}
        within, across = modes.get(given["mode"]), modes.get(given["aniso_axis_mode"])
    if within != LINEAR or across is None or given["is_seg"]:
        return None
    do_separate, axis = determine_do_sep_z_and_axis(
        given["force_separate_z"], current_spacing, new_spacing, given["separate_z_anisotropy_threshold"]
    )
    kinds = [LINEAR] * 3
    if do_separate:
        kinds[axis] = across
    return tuple(kinds)
