"""Viewer: a downsampled volume and its label maps as sheets of slices, for script.js to scroll through.

An image becomes a JPEG of all its slices side by side, a label map a PNG whose grey values are the numbers of the classes
on the page.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pages.pictures import Volume, cut_to_body, data_uri

MOST_PIXELS = 208  # along the longer side of an axial slice
MOST_SLICES = 160
SHEET_QUALITY = 75  # of its JPEG


@dataclass(frozen=True)
class VolumeSheets:
    """A case as script.js reads it.

    shape: (Z, Y, X) of the downsampled volume, from feet to head, front to back, right to left.
    spacing: Of it, in mm.
    columns: Slices in a row of a sheet.
    image, reference, prediction: Data URIs; image is empty where there is none.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    columns: int
    image: str
    reference: str
    prediction: str


def volume_sheets(
    image: np.ndarray | None,
    reference: Volume,
    prediction: np.ndarray,
    reference_indices: Mapping[int, int],
    prediction_indices: Mapping[int, int],
    window: tuple[float, float] | None = None,
) -> VolumeSheets:
    """Sheets of a case.

    Args:
        image: (Z, Y, X) intensities; None: label maps on black.
        reference: Label map on the grid of the image; so is the prediction.
        reference_indices: Stored value -> number of its class on the page, 1 ... 255; others are not drawn.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.

    Raises:
        UserError: The label maps do not lie on the grid of the image, or there are more than 255 classes; it names no file.
    """
    grey, labels, _ = cut_to_body(image, reference.array, prediction, window)
    if max((0, *reference_indices.values(), *prediction_indices.values())) > 255:
        raise UserError("more than 255 classes, which a viewer cannot show")
    full = labels[0].shape
    extent = [length * mm for length, mm in zip(full, reference.spacing)]
    pixels_per_mm = min(MOST_PIXELS / max(extent[1:]), 1 / min(reference.spacing[1:]))
    shape = (min(full[0], MOST_SLICES), *(max(1, round(mm * pixels_per_mm)) for mm in extent[1:]))
    # the voxel in the middle of each new one
    nearest = [((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(shape, full)]
    columns = int(np.ceil(np.sqrt(shape[0] * shape[1] / shape[2])))  # a sheet that is about square
    sheets = []
    for label_map, indices in zip(labels, (reference_indices, prediction_indices)):
        part = label_map[np.ix_(*nearest)]
        table = np.zeros(int(part.max()) + 1, np.uint8)
        for value, index in indices.items():
            if value < len(table):
                table[value] = index
        sheets.append(data_uri(_sheet(table[part], columns), "PNG"))
    slices = ""
    if grey is not None:
        slices = data_uri(_sheet(_shrunk(grey[nearest[0]], shape), columns), "JPEG", quality=SHEET_QUALITY)
    spacing = tuple(round(mm / length, 4) for mm, length in zip(extent, shape))
    return VolumeSheets(shape, spacing, columns, slices, *sheets)


def _shrunk(grey: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Slices as means over the voxels of each new one."""
    size = shape[2], shape[1]
    return np.stack([np.asarray(Image.fromarray(slice_).resize(size, Image.Resampling.BOX)) for slice_ in grey])


def _sheet(volume: np.ndarray, columns: int) -> Image.Image:
    """Slices row by row."""
    rows = -(-len(volume) // columns)
    padded = np.concatenate([volume, np.zeros((rows * columns - len(volume), *volume.shape[1:]), np.uint8)])
    height, width = volume.shape[1:]
    return Image.fromarray(padded.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width))
