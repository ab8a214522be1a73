"""Axes: resampling of a volume along one axis after the other, and which axis nnU-Net treats separately.

Linear interpolation of a volume is linear interpolation along one axis after the other, and each of these is a product with
a matrix with at most two entries per row. Any box of the result is computed from the few voxels that it needs, so that
nothing else is ever held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

LINEAR, NEAREST = "linear", "nearest"
Range = tuple[int, int]  # start, stop


@dataclass(frozen=True)
class ResamplingRule:
    """How nnU-Net interpolates between two grids, which depends on how anisotropic they are.

    order: Of the spline; 1 is linear.
    order_z: Across slices, where that axis is treated separately; 0 is the nearest slice.
    force_separate_z: Whether it is; None: where slices are so much thicker than their pixels.
    threshold: By how many times.
    """

    order: int
    order_z: int
    force_separate_z: bool | None
    threshold: float

    def axis_across(self, current_spacing: Sequence[float], new_spacing: Sequence[float]) -> int | None:
        """The axis that is treated separately between two grids, given by their voxel sizes in mm; None: none is.

        As nnU-Net's `determine_do_sep_z_and_axis`: the axis of the thickest voxels, unless two are as thick.
        """
        if self.force_separate_z is False:
            return None
        for spacing in (current_spacing, new_spacing):
            if self.force_separate_z or np.max(spacing) / np.min(spacing) > self.threshold:
                thickest = np.flatnonzero(np.max(spacing) / np.asarray(spacing) == 1)
                return int(thickest[0]) if len(thickest) == 1 else None
        return None

    def linear_kinds(self, current_spacing: Sequence[float], new_spacing: Sequence[float]) -> tuple[str, ...] | None:
        """LINEAR or NEAREST per axis; None where the rule is no linear interpolation."""
        if self.order != 1 or self.order_z not in (0, 1):
            return None
        kinds = [LINEAR] * 3
        across = self.axis_across(current_spacing, new_spacing)
        if across is not None and self.order_z == 0:
            kinds[across] = NEAREST
        return tuple(kinds)


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

    def matrix(self, outputs: Range) -> np.ndarray:
        """float64 (outputs, inputs of that range)."""
        first, last = self.inputs_of(outputs)
        rows = np.arange(outputs[1] - outputs[0])
        part = slice(*outputs)
        weights = np.zeros((len(rows), last - first))
        weights[rows, self.lower[part] - first] += 1 - self.fraction[part]
        used = self.fraction[part] > 0
        weights[rows[used], self.upper[part][used] - first] += self.fraction[part][used]
        return weights

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


def in_all_channels(box: Sequence[slice]) -> tuple[slice, ...]:
    """A box of (x, y, z) as one of (c, x, y, z)."""
    return (slice(None), *box)
