"""Placement: how a label is put on the grid of its image: reordered exactly, resampled only when that is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid

# A grid that differs by less comes from rounding in a header. Nine labels of KiTS19 are off by 1e-3 in their directions.
DIRECTION_TOLERANCE = 2e-3
OFFSET_TOLERANCE_VOXELS = 0.05
_EXACT_VOXELS = 1e-3  # single-precision headers agree to about this much at the far corner of a scan


@dataclass(frozen=True)
class Placement:
    """How a label array becomes one on the image's grid.

    axes: Label axis of each image axis.
    flips: Image axes to flip after that.
    note: For the user; None if there was nothing to do.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[int, ...] = ()
    note: str | None = None

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view of the label array (x, y, z) in the image's order of voxels."""
        return np.flip(np.transpose(array, self.axes), self.flips)


def place_label(label: Grid, image: Grid) -> Placement:
    """Find how a label lies on the grid of its image.

    Raises:
        UserError: It does not: another shape, or shifted, scaled or turned by more than rounding.
    """
    to_image = np.linalg.inv(image.affine) @ label.affine  # label index -> image index
    turn = np.rint(to_image[:3, :3]).astype(int)
    is_reorder = (np.abs(turn).sum(0) == 1).all() and (np.abs(turn).sum(1) == 1).all()
    off_mm_per_mm = np.abs(image.spacing[:, None] * (to_image[:3, :3] - turn) / label.spacing).max()
    axes = tuple(int(axis) for axis in np.abs(turn).argmax(1))
    shape = tuple(label.shape[axis] for axis in axes)
    if not is_reorder or off_mm_per_mm > DIRECTION_TOLERANCE or shape != image.shape:
        raise UserError(_difference(label, image))
    flips = tuple(axis for axis in range(3) if turn[axis, axes[axis]] < 0)
    first = np.array([shape[axis] - 1 if axis in flips else 0 for axis in range(3)])  # where the label's first voxel comes
    corners = np.array(list(product(*((0, size - 1) for size in label.shape))))
    off = np.abs(corners @ (to_image[:3, :3] - turn).T + to_image[:3, 3] - first).max(1)
    if (off.max() if flips else off[0]) > OFFSET_TOLERANCE_VOXELS:
        raise UserError(_difference(label, image))
    if axes != (0, 1, 2) or flips:
        return Placement(axes, flips, note="label stored in another axis order, reordered to that of the image")
    rounding = "the label's header differs from the image's by rounding, the image's is used"
    return Placement(note=None if off.max() < _EXACT_VOXELS else rounding)


def flips_between(label: Grid, image: Grid) -> tuple[int, ...] | None:
    """Axes along which a label runs against its image, as the directions in their headers say; None if it is turned."""
    cosines = np.diag(image.direction.T @ label.direction)
    return tuple(int(axis) for axis in np.flatnonzero(cosines < 0)) if (np.abs(cosines) > 0.9).all() else None


def resample_nearest(array: np.ndarray, label: Grid, image: Grid) -> np.ndarray:
    """The label value at the centre of every image voxel; background outside of the label's voxels, which end at their faces."""
    from scipy.ndimage import affine_transform

    to_label = np.linalg.inv(label.affine) @ image.affine
    # "constant" would end at the centres of the outermost voxels, "grid-constant" ends at their faces.
    where = to_label[:3, :3], to_label[:3, 3]
    return affine_transform(array, *where, output_shape=image.shape, order=0, mode="grid-constant", cval=0, prefilter=False)


def _difference(label: Grid, image: Grid) -> str:
    """What differs, in words."""
    if sorted(label.shape) != sorted(image.shape):
        return f"label has {times(label.shape)} voxels, its image {times(image.shape)}"
    what = []
    if not np.allclose(label.spacing, image.spacing, rtol=DIRECTION_TOLERANCE):
        what.append(f"spacing {_numbers(label.spacing)} mm, image {_numbers(image.spacing)} mm")
    if np.abs(label.direction - image.direction).max() > DIRECTION_TOLERANCE:
        what.append("another direction")
    if not what and label.shape != image.shape:
        what.append(f"{times(label.shape)} voxels, image {times(image.shape)}")
    if not what:
        what.append(f"shifted by {np.linalg.norm(label.origin - image.origin):.3g} mm")
    return f"label lies on another grid than its image: {'; '.join(what)}"


def times(shape: Sequence[int]) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape))


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
