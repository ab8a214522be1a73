"""Body: volumes turned to the axes of the body, cut to it, and shown in a window of intensities.

Radiological convention: the patient's right is on the left of axial and coronal slices, the front of the body is up in
axial and left in sagittal slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.datasets.label_maps import integers
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import read_sitk

CT_WINDOW = (-160.0, 240.0)  # HU, soft tissue
AIR = 12  # grey value up to which the outside of the body is cut away
SAMPLED = 1_000_000  # voxels of an image, about, from which a window is told


@dataclass(frozen=True)
class Volume:
    """array: (Z, Y, X) from feet to head, front to back, right to left. grid: Where it lies; its axes are x, y, z."""

    array: np.ndarray
    grid: Grid

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm, along z, y, x."""
        z, y, x = self.grid.spacing[::-1].tolist()
        return z, y, x


class Window(NamedTuple):
    """Intensities shown as black and white; is_hu: whether the image looks like one of HU."""

    low: float
    high: float
    is_hu: bool


def read_volume(path: str | Path) -> Volume:
    """Read an image or a label map, turned to the axes of the body as far as flips and swaps of axes can."""
    image = read_sitk(Path(path))
    if image.GetDimension() == 2:
        image = sitk.JoinSeries([image])
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    image = sitk.DICOMOrient(image, "LPS")
    array = sitk.GetArrayFromImage(image)
    return Volume(array if array.ndim == 3 else array[..., 0], Grid.of_image(image))


def read_label_map(path: str | Path) -> Volume:
    """`read_volume` of a label map, as integers."""
    volume = read_volume(path)
    return Volume(integers(volume.array), volume.grid)


def window_of(image: np.ndarray, given: tuple[float, float] | None) -> Window:
    """The window of an image: what is given, else soft tissue for HU, else what most voxels span."""
    step = max(1, round((image.size / SAMPLED) ** (1 / 3)))
    low, high = np.percentile(image[tuple(slice(None, None, min(step, length)) for length in image.shape)], (0.5, 99.5))
    is_hu = bool(low <= -500 and high < 4000)  # air around or in the body
    span = given or (CT_WINDOW if is_hu else (float(low), float(max(high, low + 1e-6))))
    return Window(*span, is_hu)


def check_one_grid(image: np.ndarray | None, reference: np.ndarray, prediction: np.ndarray) -> None:
    """Raise UserError unless the three have as many voxels along each axis; the message names no file."""
    for name, array in (("image", image), ("prediction", prediction)):
        if array is not None and array.shape != reference.shape:
            raise UserError(f"shape of reference {reference.shape} and {name} {array.shape} differ")


def cut_to_body(
    image: np.ndarray | None, reference: np.ndarray, prediction: np.ndarray, window: tuple[float, float] | None
) -> tuple[np.ndarray | None, list[np.ndarray], tuple[slice, ...]]:
    """What lies in the smallest box around the body and all labels; all of it where there is nothing.

    Returns:
        The image as uint8, black and white at the ends of the window; reference and prediction; the box.

    Raises:
        UserError: The three do not lie on one grid; the message names no file.
    """
    check_one_grid(image, reference, prediction)
    grey = None
    if image is not None:
        low, high, _ = window_of(image, window)
        grey = np.empty(image.shape, np.uint8)
        for slice_, made in zip(image, grey):  # floats of a slice and not of the volume
            made[:] = (((slice_.astype(np.float32) - low) / (high - low)).clip(0, 1) * 255).round()
    box = box_around([reference, prediction], grey)
    return None if grey is None else grey[box], [reference[box], prediction[box]], box


def box_around(labels: Sequence[np.ndarray], grey: np.ndarray | None = None) -> tuple[slice, ...]:
    """The smallest box around all that is labelled, or lighter than air in `grey`; all of the volume where there is nothing."""
    shape = labels[0].shape
    seen = [np.zeros(length, bool) for length in shape]
    for z in range(shape[0]):
        mask = (labels[0][z] > 0) | (labels[1][z] > 0)
        if grey is not None:
            mask |= grey[z] > AIR
        seen[1] |= mask.any(1)
        seen[2] |= mask.any(0)
        seen[0][z] = mask.any()
    found = [np.flatnonzero(its) for its in seen]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) if at.size else slice(0, None) for at in found)
