"""Preprocessing: from an image to what the network sees, by nnU-Net's rules: cropped, normalised, resampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable.description import CT, Description, Normalization
from nnunetv2_cdpd.volumes.axes import ResamplingRule, in_all_channels
from nnunetv2_cdpd.volumes.splines import across_matrix, spline_matrix

MOST_PER_VOXEL = 64  # what a network may make of a voxel by its own, finer spacing
_ALWAYS_TAKEN = 10**9  # voxels at a network's spacing
_EPSILON = 1e-8  # nnU-Net's smallest spread of intensities
_NEGLIGIBLE = 1e-9  # weights of a spline below it are left out
_ROWS = 32  # of a matrix at a time: few others than its neighbours' weights are not negligible


@dataclass(frozen=True)
class SeenImage:
    """data: float32 (C, x, y, z) as the network sees it; 2D networks see its slices along the first axis.
    spacing: Of `data`, in mm.
    crop: The part of the image that it shows, in the network's order of axes.
    full_shape, full_spacing: Of the image, in that order.
    """

    data: np.ndarray
    spacing: tuple[float, ...]
    crop: tuple[slice, ...]
    full_shape: tuple[int, ...]
    full_spacing: tuple[float, ...]


def check_new_shape(shape: Sequence[int], new_shape: Sequence[int], spacing: Sequence[float]) -> None:
    """Raise UserError for an image that has no voxel at the model's spacing, or so many that its voxel size must be wrong.

    Args:
        shape: Of the image.
        new_shape: At the model's spacing.
        spacing: The model's, in mm.
    """
    voxels = math.prod(map(int, new_shape))
    if voxels and voxels <= max(_ALWAYS_TAKEN, MOST_PER_VOXEL * math.prod(map(int, shape))):
        return
    told = f"{voxels:,}" if voxels else "none"
    raise UserError(
        f"an image of {' x '.join(map(str, shape))} voxels has {told} at the model's spacing, "
        f"{' x '.join(f'{mm:.3g}' for mm in spacing)} mm; is it the right file, and the voxel size in its header right?"
    )


def preprocessed(image: np.ndarray, spacing: Sequence[float], description: Description) -> SeenImage:
    """Preprocess (C, Z, Y, X).

    Raises:
        UserError: No voxel is left at the model's spacing, or values become no numbers.
    """
    axes = description.transpose
    data = image.transpose(0, *(1 + axis for axis in axes))
    full_spacing = tuple(spacing[axis] for axis in axes)
    full_shape = data.shape[1:]
    crop, mask = _nonzero(data, any(each.use_mask for each in description.normalizations))
    data = data[in_all_channels(crop)].copy(order="K")  # with the order in memory that nnU-Net's has, for the last bit
    target = (*full_spacing[: 3 - len(description.spacing)], *description.spacing)
    shape = tuple(round(old / new * length) for old, new, length in zip(full_spacing, target, data.shape[1:]))
    check_new_shape(data.shape[1:], shape, target)
    for channel, normalization in zip(data, description.normalizations):
        _normalize(channel, normalization, mask)
    data = np.stack([resampled_volume(channel, shape, full_spacing, target, description.image_rule) for channel in data])
    if not np.isfinite(data.sum()):
        raise UserError("the image holds values that are no numbers (nan or inf)")
    return SeenImage(np.ascontiguousarray(data), target, crop, full_shape, full_spacing)


def _nonzero(data: np.ndarray, filled: bool) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of what is not zero in any channel, and in it which voxels that are.

    Args:
        filled: Whether holes count as well, as nnU-Net has it.
    """
    mask = (data != 0).any(0)
    box = []
    for axis in range(3):
        found = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, mask.shape[axis]))
    if filled:
        holes_filled = sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)), fullyConnected=False, foregroundValue=1)
        mask = sitk.GetArrayFromImage(holes_filled).astype(bool)
    return tuple(box), mask[tuple(box)]


def _normalize(image: np.ndarray, normalization: Normalization, mask: np.ndarray) -> None:
    """One channel, in place, as nnU-Net's class of that name does."""
    scheme = normalization.scheme
    if scheme == CT:
        mean, std, low, high = (normalization.numbers[name] for name in ("mean", "std", "percentile_00_5", "percentile_99_5"))
        np.clip(image, low, high, out=image)
        image -= mean
        image /= max(std, _EPSILON)
    elif scheme == "ZScoreNormalization" and normalization.use_mask:
        inside = image[mask]
        mean, std = inside.mean(), inside.std()
        image[mask] = (inside - mean) / max(std, _EPSILON)
    elif scheme == "ZScoreNormalization":
        mean, std = image.mean(), image.std()
        image -= mean
        image /= max(std, _EPSILON)
    elif scheme == "RescaleTo01Normalization":
        image -= image.min()
        image /= max(image.max(), _EPSILON)
    elif scheme == "RGBTo01Normalization":
        if image.min() < 0 or image.max() > 255:
            raise UserError("this model takes images with values from 0 to 255, and the image has others; is it the right file?")
        image /= 255.0


def resampled_volume(
    image: np.ndarray,
    new_shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    rule: ResamplingRule,
) -> np.ndarray:
    """(x, y, z) on another grid of the same box; `volumes.interpolation.resample_by_axis` is the same for tensors.

    Args:
        new_shape: (X, Y, Z).
        current_spacing: In mm; only the anisotropy of both spacings matters.
    """
    across = rule.axis_across(current_spacing, new_spacing)
    changed = [axis for axis in range(3) if image.shape[axis] != new_shape[axis]]
    within = sorted(set(changed) - {across}, key=lambda axis: new_shape[axis] / image.shape[axis])
    axes = tuple(axis for axis in range(3) if axis != across)
    lowest, highest = image.min(axes, keepdims=True), image.max(axes, keepdims=True)
    for axis in within:
        image = _along_axis(image, axis, spline_matrix(image.shape[axis], new_shape[axis], rule.order))
    if within:  # interpolated values stay within the range of the volume, or of their slice
        image = np.clip(image, lowest, highest)
    if across in changed:
        image = _along_axis(image, across, across_matrix(image.shape[across], new_shape[across], rule.order_z))
    return image


def _along_axis(image: np.ndarray, axis: int, matrix: np.ndarray) -> np.ndarray:
    """The product of a matrix (outputs, inputs) with one axis of an image (x, y, z), in the image's type."""
    lines = np.ascontiguousarray(np.moveaxis(image, axis, 0))
    result = np.empty((len(matrix), *lines.shape[1:]), image.dtype)
    for start in range(0, len(matrix), _ROWS):
        rows = matrix[start : start + _ROWS]
        used = np.flatnonzero(np.abs(rows).max(0) > _NEGLIGIBLE)
        inputs = slice(used[0], used[-1] + 1)
        part = lines[inputs].reshape(inputs.stop - inputs.start, -1)
        result[start : start + _ROWS] = (rows[:, inputs].astype(image.dtype) @ part).reshape(len(rows), *lines.shape[1:])
    return np.moveaxis(result, 0, axis)
