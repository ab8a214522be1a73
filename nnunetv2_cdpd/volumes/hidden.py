"""Hidden: parts of a label map of which nothing is known (nnU-Net's ignore label), beside which a structure may go on."""

import numpy as np


def goes_on_hidden(hidden: np.ndarray, axis: int, step: int, planes: int = 1) -> np.ndarray:
    """Where an array goes on hidden along an axis.

    Args:
        hidden: Bool, of any axes.
        step: 1 or -1, the way along the axis.
        planes: How many voxels after each have to be hidden; of fewer up to the border of the array all, but one at least.

    Returns:
        Bool, of the same shape.
    """
    along = np.moveaxis(hidden, axis, 0)[::step]
    found = np.zeros_like(along)
    found[:-1] = along[1:]
    for plane in range(2, min(planes, len(along) - 1) + 1):
        found[:-plane] &= along[plane:]
    return np.moveaxis(found[::step], 0, axis)


def beside_hidden(hidden: np.ndarray) -> np.ndarray:
    """Bool, of the same shape: voxels that share a face with a hidden one."""
    found = np.zeros_like(hidden)
    for axis in range(hidden.ndim):
        for step in (1, -1):
            found |= goes_on_hidden(hidden, axis, step)
    return found
