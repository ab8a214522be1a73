"""BodySlices: what the axial slices of a CT look like, in a few numbers each, from voxels of about 4 mm.

Areas of body, bone, air, fat and soft tissue, width and depth, of a slice and of its surroundings: enough to tell about how high
in the body it lies, whatever the voxel size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.place.axes import DEPTH, HEIGHT, SIDE

_STEP_MM = 4.0
_BODY_HU = -300.0  # air below
_TISSUES_HU = ((200.0, np.inf), (700.0, np.inf), (-np.inf, -500.0), (-200.0, -30.0), (0.0, 120.0))  # bone twice: and its cortex
_SURROUNDINGS_MM = (15.0, 40.0)  # standard deviations of the smoothing along the body
_NUM_LOOKS = 2 * len(_TISSUES_HU) + 3  # of a slice
NUM_FEATURES = _NUM_LOOKS * (1 + len(_SURROUNDINGS_MM))  # F: with its surroundings
_LEAST_PIECE = 0.1  # of the largest component of the body, for one to be of the body: an arm, no table
_LEAST_LENGTH = 40.0  # mm of body in an image
_LEAST_AREA = 500.0  # mm2 of body in a slice that tells anything


@dataclass(frozen=True)
class BodySlices:
    """The slices of an image that show enough of a body.

    heights: (S,) mm from the middle of the first slice of the image, towards the head.
    features: (S, F).
    middle: (2,) mm from the middle of the first voxel, towards back and left: of the body, where most slices have it.
    extent: (2,) mm, its depth and width, likewise.
    """

    heights: np.ndarray
    features: np.ndarray
    middle: np.ndarray
    extent: np.ndarray


def body_slices(image: np.ndarray, spacing: Sequence[float]) -> BodySlices | None:
    """Look at a CT.

    Args:
        image: (height, depth, side) of HU, turned as `BodyAxes.turned` does.
        spacing: Voxel size in mm, array order.

    Returns:
        None: it shows too little of a body.
    """
    factors = [max(1, min(length, round(_STEP_MM / mm))) for length, mm in zip(image.shape, spacing)]
    coarse, steps = block_means(image, factors), [factor * mm for factor, mm in zip(factors, spacing)]
    body = _body(coarse)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    pixel = steps[DEPTH] * steps[SIDE]
    area = filled.sum((DEPTH, SIDE)) * pixel
    is_valid = area >= _LEAST_AREA
    if is_valid.sum() * steps[HEIGHT] < _LEAST_LENGTH:
        return None
    tissues = [((coarse > low) & (coarse < high) & filled).sum((DEPTH, SIDE)) * pixel for low, high in _TISSUES_HU]
    profiles = filled.any(SIDE), filled.any(DEPTH)  # (height, depth) and (height, side)
    extents = np.stack([profile.sum(1) * mm for profile, mm in zip(profiles, steps[1:])], 1)
    looks = np.concatenate(
        [
            np.sqrt(np.stack([area, *tissues], 1)),
            np.stack(tissues, 1) / np.maximum(area, _LEAST_AREA)[:, None],
            extents,
        ],
        axis=1,
    )
    features = np.concatenate([looks, *(_around(looks, is_valid, mm / steps[HEIGHT]) for mm in _SURROUNDINGS_MM)], axis=1)
    starts = [(factor - 1) / 2 * mm for factor, mm in zip(factors, spacing)]  # middle of the first coarse voxel
    middles = [_middles(filled, axis, steps[axis], starts[axis])[is_valid] for axis in (DEPTH, SIDE)]
    return BodySlices(
        (starts[HEIGHT] + steps[HEIGHT] * np.arange(len(coarse)))[is_valid],
        features[is_valid],
        np.array([np.median(each) for each in middles]),
        np.median(extents[is_valid], axis=0),
    )


def block_means(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """float32 means over blocks of so many voxels per axis; what does not fill a block at the end is left out."""
    for axis, factor in enumerate(factors):
        length = array.shape[axis] // factor * factor
        part = array[(slice(None),) * axis + (slice(length),)]
        array = part.reshape(*part.shape[:axis], -1, factor, *part.shape[axis + 1 :]).mean(axis + 1, dtype=np.float32)
    return array


def _body(coarse: np.ndarray) -> np.ndarray:
    """Bool, of the array's shape: the large pieces of what is no air, without what hangs on them by a thread."""
    mask = ndimage.binary_opening(np.pad(coarse > _BODY_HU, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    numbered, _ = ndimage.label(mask)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    return np.isin(numbered, np.flatnonzero(sizes > _LEAST_PIECE * sizes.max()))


def _around(looks: np.ndarray, is_valid: np.ndarray, sigma: float) -> np.ndarray:
    """Means of the valid slices around each, weighted by a Gaussian with a standard deviation in slices."""
    sums, weights = (
        ndimage.gaussian_filter1d(values, sigma, axis=0, mode="constant")
        for values in (looks * is_valid[:, None], 1.0 * is_valid)
    )
    return sums / np.maximum(weights, 1e-9)[:, None]


def _middles(filled: np.ndarray, axis: int, step: float, start: float) -> np.ndarray:
    """(S,) mm: the middle of the body of each slice along an axis; nan where there is none."""
    counts = filled.sum(DEPTH + SIDE - axis)
    place = start + step * np.arange(counts.shape[1])
    with np.errstate(invalid="ignore"):
        return counts @ place / counts.sum(1)
