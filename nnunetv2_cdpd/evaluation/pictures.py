"""Pictures: slices of a case in three planes, plain and with its reference and prediction painted over.

Radiological convention: the patient's right is on the left of axial and coronal slices, the front of the body is up in
axial and left in sagittal slices. Pixels are square in mm.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np
import SimpleITK as sitk
from PIL import Image

from nnunetv2_cdpd.evaluation.palette import rgb

PLANES = ("axial", "coronal", "sagittal")  # cut across axes 0, 1, 2 of a volume (z, y, x)
CT_WINDOW = (-160.0, 240.0)  # HU, soft tissue
PANEL_PIXELS = 380  # width of the widest plane
AIR = 12  # grey value up to which the outside of the body is cut away
FILL, OUTLINE = 0.38, 0.95  # opacity of a painted class


@dataclass(frozen=True)
class PlanePictures:
    """One slice three times, as data URIs of PNG files.

    slice_number: From 1, in the direction feet to head, front to back, or right to left.
    width: In pixels; all planes of a case have the same pixels per mm.
    """

    plane: str
    slice_number: int
    num_slices: int
    width: int
    image: str
    reference: str
    prediction: str


@dataclass(frozen=True)
class Volume:
    """array: (Z, Y, X) from feet to head, front to back, right to left. spacing: mm, in that order."""

    array: np.ndarray
    spacing: tuple[float, float, float]


def read_volume(path: str | Path) -> Volume:
    """Read an image or a label map, turned to the axes of the body as far as flips and swaps of axes can."""
    image = sitk.ReadImage(str(path))
    if image.GetDimension() == 2:
        image = sitk.JoinSeries([image])
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    image = sitk.DICOMOrient(image, "LPS")
    array = sitk.GetArrayFromImage(image)
    return Volume(array if array.ndim == 3 else array[..., 0], tuple(image.GetSpacing()[::-1]))


def case_pictures(
    image: Volume,
    reference: np.ndarray,
    prediction: np.ndarray,
    reference_colours: Mapping[int, str],
    prediction_colours: Mapping[int, str],
    window: tuple[float, float] | None = None,
) -> list[PlanePictures]:
    """Pictures of a case, one entry per plane; of a single slice the axial one only.

    Args:
        reference: (Z, Y, X) label map on the grid of the image; so is the prediction.
        reference_colours: Stored value -> colour; others are not painted.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.

    Raises:
        ValueError: The label maps do not lie on the grid of the image.
    """
    for name, label_map in (("reference", reference), ("prediction", prediction)):
        if label_map.shape != image.array.shape:
            raise ValueError(f"shape of image {image.array.shape} and {name} {label_map.shape} differ")
    grey = _grey(image.array, window or _window(image.array))
    body = _box((grey > AIR) | (reference > 0) | (prediction > 0))
    num_slices = grey.shape
    grey, reference, prediction = grey[body], reference[body], prediction[body]
    extent = [length * mm for length, mm in zip(grey.shape, image.spacing)]
    pixels_per_mm = PANEL_PIXELS / max(extent[1:])  # an axis that is a picture's width: y or x
    pictures = []
    for axis, plane in enumerate(PLANES):
        if axis and num_slices[0] == 1:
            break
        index = _best_slice(reference, prediction, list(reference_colours), list(prediction_colours), axis)
        slices = [_upright(np.take(volume, index, axis), axis) for volume in (grey, reference, prediction)]
        size = tuple(max(1, round(mm * pixels_per_mm)) for other, mm in enumerate(extent) if other != axis)
        background = np.asarray(Image.fromarray(slices[0]).resize(size[::-1], Image.Resampling.BICUBIC))
        painted = [
            _painted(background, _enlarged(label_map, size), colours)
            for label_map, colours in ((slices[1], reference_colours), (slices[2], prediction_colours))
        ]
        uris = (_data_uri(Image.fromarray(background)), *map(_data_uri, painted))
        pictures.append(PlanePictures(plane, body[axis].start + index + 1, num_slices[axis], size[1], *uris))
    return pictures


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask; all of it where the mask is empty."""
    found = [np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) if at.size else slice(0, None) for at in found)


def _window(array: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(array, (0.5, 99.5))
    looks_like_hu = low <= -500 and high < 4000  # air around or in the body
    return CT_WINDOW if looks_like_hu else (float(low), float(max(high, low + 1e-6)))


def _grey(array: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    scaled = (array.astype(np.float32) - window[0]) / (window[1] - window[0])
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def _best_slice(
    reference: np.ndarray, prediction: np.ndarray, reference_values: Sequence[int], predicted_values: Sequence[int], axis: int
) -> int:
    """The slice in which most classes are seen well: each counts by its area here, relative to its largest area."""
    others = tuple(other for other in range(3) if other != axis)
    score = np.zeros(reference.shape[axis])
    for label_map, values in ((reference, reference_values), (prediction, predicted_values)):
        for value in np.intersect1d(values, np.unique(label_map)):
            area = (label_map == value).sum(others)
            score += np.sqrt(area / area.max())
    return int(score.argmax()) if score.any() else len(score) // 2


def _upright(slice_: np.ndarray, axis: int) -> np.ndarray:
    """Rows from head to feet where they run along the body, which starts at the feet."""
    return slice_ if axis == 0 else slice_[::-1]


def _enlarged(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour, so that the voxels of a label map stay visible."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, label_map.shape))
    return label_map[np.ix_(rows, columns)]


def _painted(background: np.ndarray, label_map: np.ndarray, colours: Mapping[int, str]) -> Image.Image:
    edge = np.zeros(label_map.shape, bool)
    for axis in (0, 1):
        differs = np.diff(label_map, axis=axis) != 0
        edge[tuple(slice(None, -1) if axis == other else slice(None) for other in (0, 1))] |= differs
        edge[tuple(slice(1, None) if axis == other else slice(None) for other in (0, 1))] |= differs
    picture = np.repeat(background[..., None], 3, -1).astype(np.float32)
    for value, colour in colours.items():
        mask = label_map == value
        opacity = np.where(edge[mask], OUTLINE, FILL)[:, None]
        picture[mask] = (1 - opacity) * picture[mask] + opacity * np.array(rgb(colour))
    # 256 colours are enough here, and a third of the size
    return Image.fromarray(picture.round().astype(np.uint8)).quantize(256, dither=Image.Dither.NONE)


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
