"""Pictures: one slice of a case in each of three planes, with the contours of its reference, its prediction and its mistakes.

They lie as `body` tells. Pixels are square in mm. Contours are paths, the slice beneath them is a JPEG.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import contourpy
import numpy as np
from matplotlib.path import Path as Polygon
from PIL import Image

from nnunetv2_cdpd.pages.body import Volume, cut_to_body
from nnunetv2_cdpd.pages.mistakes import MISTAKE_KINDS, Mistakes, looked_up

PLANES = ("axial", "coronal", "sagittal")  # cut across axes 0, 1, 2 of a volume (z, y, x)
PANEL_PIXELS = 440  # width of the widest plane
SLICE_QUALITY = 82  # of its JPEG
STRAIGHT = 0.3  # pixels by which a contour may be moved to save points


@dataclass(frozen=True)
class PlanePicture:
    """One slice.

    slice_number: From 1, in the direction feet to head, front to back, or right to left.
    width, height: In pixels; all planes of a case have the same pixels per mm.
    image: Data URI of a JPEG; empty where there is no image.
    reference, prediction: Class -> path data of its contours ("M10 20l3 4z"), outer classes first.
    mistakes: Name of a kind of mistake -> path data of its contours; empty where there is no score.
    """

    plane: str
    slice_number: int
    num_slices: int
    width: int
    height: int
    image: str
    reference: Mapping[str, str]
    prediction: Mapping[str, str]
    mistakes: Mapping[str, str] = field(default_factory=dict)

    @property
    def percent(self) -> float:
        """Of the widest plane's width."""
        return 100 * self.width / PANEL_PIXELS


def case_pictures(
    image: np.ndarray | None,
    reference: Volume,
    prediction: np.ndarray,
    reference_regions: Mapping[str, Sequence[int]],
    prediction_regions: Mapping[str, Sequence[int]],
    window: tuple[float, float] | None = None,
    mistakes: Mistakes | None = None,
) -> list[PlanePicture]:
    """Pictures of a case, one per plane; of a single slice the axial one only.

    The slice of each plane is the one with most mistakes in the worst class, or most of that class where it has none; where
    there is no worst class, the one that shows most classes.

    Args:
        image: (Z, Y, X) intensities; None: contours on black.
        reference: Label map on the grid of the image; so is the prediction.
        reference_regions: Class -> stored values that make it up, outer classes first; others are not drawn.
        window: Intensities shown as black and white; None: soft tissue for HU, else what most voxels span.

    Raises:
        UserError: The label maps do not lie on the grid of the image; the message names no file.
    """
    grey, labels, box = cut_to_body(image, reference.array, prediction, window)
    num_slices = reference.array.shape
    extent = [length * mm for length, mm in zip(labels[0].shape, reference.spacing)]
    pixels_per_mm = PANEL_PIXELS / max(extent[1:])  # an axis that is a picture's width: y or x
    both_regions = (reference_regions, prediction_regions)
    best = _best_slices(labels, both_regions, mistakes)
    pictures = []
    for axis, plane in enumerate(PLANES):
        if axis and num_slices[0] == 1:
            break
        index = best[axis]
        height, width = (max(1, round(mm * pixels_per_mm)) for other, mm in enumerate(extent) if other != axis)
        slices = [_slice(label_map, axis, index) for label_map in labels]
        drawn = list(zip(slices, both_regions))
        if mistakes is not None:
            codes = looked_up(mistakes.codes, *(slice_[None] for slice_ in slices))[0]
            drawn.append((codes, {kind.name: (kind.code,) for kind in MISTAKE_KINDS}))
        contours = [_contours(slice_, regions, (height, width)) for slice_, regions in drawn]
        background = "" if grey is None else _jpeg(_slice(grey, axis, index), (width, height))
        number = box[axis].start + index + 1
        pictures.append(PlanePicture(plane, number, num_slices[axis], width, height, background, *contours))
    return pictures


def data_uri(picture: Image.Image, file_format: str, **options: object) -> str:
    """The picture in the page itself."""
    file = io.BytesIO()
    picture.save(file, file_format, optimize=True, **options)
    return f"data:image/{file_format.lower()};base64," + base64.b64encode(file.getvalue()).decode()


def _best_slices(
    labels: Sequence[np.ndarray], both_regions: Sequence[Mapping[str, Sequence[int]]], mistakes: Mistakes | None
) -> list[int]:
    """Of each axis the slice to draw."""
    places = None if mistakes is None else mistakes.worst_places(*labels)
    if places is not None:
        return [int(places.sum(tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3)]
    drawn = [sorted({value for values in regions.values() for value in values}) for regions in both_regions]
    return [_slice_of_most_classes(labels, drawn, axis) for axis in range(3)]


def _slice_of_most_classes(labels: Sequence[np.ndarray], drawn: Sequence[Sequence[int]], axis: int) -> int:
    """The slice in which most classes are seen well: each counts by its area here, relative to its largest area."""
    score = np.zeros(labels[0].shape[axis])
    for label_map, values in zip(labels, drawn):
        areas = _areas(label_map, values, axis)
        areas = areas[:, areas.any(0)]
        score += np.sqrt(areas / areas.max(0, initial=1)).sum(1)
    return int(score.argmax()) if score.any() else len(score) // 2


def _areas(label_map: np.ndarray, values: Sequence[int], axis: int) -> np.ndarray:
    """Voxels of each value in each slice, int (slices, values); looks at every voxel once, however many values there are."""
    others = max(values, default=0) + 1
    column = np.full(others + 1, len(values))
    column[list(values)] = np.arange(len(values))
    counts = [
        np.bincount(column[np.clip(slice_.astype(np.intp), 0, others)].ravel(), minlength=len(values) + 1)
        for slice_ in np.moveaxis(label_map, axis, 0)
    ]
    return np.stack(counts)[:, : len(values)]


def _slice(volume: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A slice, its rows from head to feet where they run along the body, which starts at the feet."""
    found = np.take(volume, index, axis)
    return found if axis == 0 else found[::-1]


def _jpeg(slice_: np.ndarray, size: tuple[int, int]) -> str:
    return data_uri(Image.fromarray(slice_).resize(size, Image.Resampling.BICUBIC), "JPEG", quality=SLICE_QUALITY)


def _contours(slice_: np.ndarray, regions: Mapping[str, Sequence[int]], size: tuple[int, int]) -> dict[str, str]:
    """Class -> path data, of the classes in a slice; size: height and width in pixels."""
    # no more points than there are pixels
    rows, columns = (np.arange(min(old, new)) * max(1.0, old / new) for new, old in zip(size, slice_.shape))
    small = slice_[np.ix_(rows.astype(int), columns.astype(int))]
    scale = np.array([size[1] / small.shape[1], size[0] / small.shape[0]])
    paths = {name: _path(np.isin(small, values), scale) for name, values in regions.items()}
    return {name: path for name, path in paths.items() if path}


def _path(mask: np.ndarray, scale: np.ndarray) -> str:
    """Contours of a mask as path data; scale: pixels per voxel in x and y."""
    if not mask.any():
        return ""
    lines = contourpy.contour_generator(z=np.pad(mask, 1).astype(np.float32)).lines(0.5)
    parts = []
    for line in lines:
        # a voxel's centre lies at half its size; the margin of one voxel is taken off
        polygon = Polygon((np.asarray(line) - 0.5) * scale)
        polygon.should_simplify, polygon.simplify_threshold = True, STRAIGHT
        points = np.round(np.asarray(polygon.cleaned(simplify=True).vertices)[:-1], 1)  # the last one is a stop code
        steps = [f"{_short(x)} {_short(y)}" for x, y in np.diff(points, axis=0) if abs(x) > 0.05 or abs(y) > 0.05]
        if len(steps) > 1:
            parts.append(f"M{_short(points[0, 0])} {_short(points[0, 1])}l{' '.join(steps)}z")
    return "".join(parts)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0").replace("-0.", "-.").removeprefix("0") or "0"
