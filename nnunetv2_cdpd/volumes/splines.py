"""Splines: what interpolation makes of a line of voxels, as a matrix (outputs, inputs).

A B-spline of any order through the voxels, values beyond the first and the last one continued: scipy's `ndimage` with mode
"nearest", by which nnU-Net resamples images, to the last digits.

Source: Unser, Aldroubi, Eden, B-spline signal processing, IEEE Transactions on Signal Processing 41 (1993).
"""

import math
from functools import lru_cache

import numpy as np

MAX_ORDER = 5
_PADDING = 12  # voxels that continue a line on either side, as scipy's; a spline forgets them on the way
_POLES = {  # of the filter that turns values into the coefficients of the spline
    2: (math.sqrt(8) - 3,),
    3: (math.sqrt(3) - 2,),
    4: tuple(math.sqrt(664 + sign * math.sqrt(438976)) - sign * math.sqrt(304) - 19 for sign in (-1, 1)),
    5: tuple(math.sqrt(67.5 + sign * math.sqrt(4436.25)) - sign * math.sqrt(26.25) - 6.5 for sign in (-1, 1)),
}


@lru_cache(maxsize=8)
def spline_matrix(num_inputs: int, num_outputs: int, order: int) -> np.ndarray:
    """(outputs, inputs) of one axis, as scikit-image's resize interpolates it: outer borders shared, edges continued."""
    return interpolation_matrix((np.arange(num_outputs) + 0.5) * (num_inputs / num_outputs) - 0.5, num_inputs, order)


@lru_cache(maxsize=8)
def across_matrix(num_inputs: int, num_outputs: int, order: int) -> np.ndarray:
    """(outputs, inputs) of the axis across slices that nnU-Net treats separately; order 0 takes the nearest slice."""
    position = num_inputs / num_outputs * (np.arange(num_outputs) + 0.5) - 0.5  # in the host's order, for its rounding
    return interpolation_matrix(position, num_inputs, order)


def interpolation_matrix(position: np.ndarray, num_inputs: int, order: int) -> np.ndarray:
    """What interpolation at positions makes of each voxel.

    Args:
        position: (outputs,) in voxels, from the middle of the first one; beyond the ends by less than `_PADDING`.
        num_inputs: Voxels of the line.
        order: 0 (the nearest voxel; the later of two) to `MAX_ORDER`.

    Returns:
        float64 (outputs, inputs).
    """
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(f"splines are of order 0 to {MAX_ORDER}, got {order}")
    if order < 2:
        coefficients, position = np.eye(num_inputs), np.clip(position, 0, num_inputs - 1)
    else:
        coefficients = np.pad(np.eye(num_inputs), ((_PADDING, _PADDING), (0, 0)), mode="edge")
        _filter(coefficients, order)
        position = position + _PADDING
    first = np.floor(position + (0 if order % 2 else 0.5)).astype(int) - order // 2
    matrix = np.zeros((len(position), num_inputs))
    for offset in range(order + 1):
        place = first + offset
        weights = _b_spline(position - place, order)
        matrix += weights[:, None] * coefficients[np.clip(place, 0, len(coefficients) - 1)]
    return matrix


def _filter(lines: np.ndarray, order: int) -> None:
    """Turn values along the first axis into the coefficients of the spline through them, in place; mirrored at the ends."""
    n = len(lines)
    for pole in _POLES[order]:
        lines *= (1 - pole) * (1 - 1 / pole)
        powers = pole ** np.arange(n)
        back = pole ** (2 * (n - 1) - np.arange(1, n - 1))
        lines[0] = (powers @ lines + back @ lines[1:-1]) / (1 - pole ** (2 * (n - 1)))
        for i in range(1, n):
            lines[i] += pole * lines[i - 1]
        lines[-1] = pole / (pole**2 - 1) * (pole * lines[-2] + lines[-1])
        for i in range(n - 2, -1, -1):
            lines[i] = pole * (lines[i + 1] - lines[i])


def _b_spline(x: np.ndarray, order: int) -> np.ndarray:
    """The B-spline of an order, around 0."""
    if order == 0:
        return np.where((x >= -0.5) & (x < 0.5), 1.0, 0.0)
    half = (order + 1) / 2
    return ((half + x) * _b_spline(x + 0.5, order - 1) + (half - x) * _b_spline(x - 0.5, order - 1)) / order
