"""Viewer: a case as viewer.js reads it: cropped to its labels, reduced in resolution and depth, packed, no larger than a bound.

Voxels are bytes. Those of an image are codes of a list of intensities, finer where soft tissue lies, those of a label map the
numbers of the classes on the page. They are packed with zlib, which browsers unpack themselves.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pages.body import CT_WINDOW, Volume, box_around, check_one_grid, window_of
from nnunetv2_cdpd.pages.mistakes import Mistakes, looked_up
from nnunetv2_cdpd.volumes.grid import Grid

PAGE_BYTES = 24_000_000  # of all volumes together, as they stand in a page
CASE_BYTES = 3_000_000
MOST_VOLUMES = 24  # on a page; each has a megabyte at least
MOST_VOXELS = 2_500_000
MOST_ALONG = 1024  # voxels of an axis, which every graphics card takes
MARGIN_MM = 25.0  # around the labels
CT_WINDOWS = {"soft tissue": CT_WINDOW, "lung": (-1350.0, 150.0), "bone": (-500.0, 1300.0)}  # HU
# HU of the 256 codes: steps of 16 in air, lung and bone, of 4 between
HU_LEVELS = np.concatenate([np.arange(-1024, -192, 16), np.arange(-192, 308, 4), np.arange(308, 1572, 16)]).astype(np.float32)


@dataclass(frozen=True)
class ViewerVolume:
    """A case as viewer.js reads it.

    shape: Voxels along x, y, z.
    affine: (4, 4) voxel index x, y, z -> mm (RAS), as NIfTI has it.
    start: Where the crosshair is at first, in mm (RAS).
    unit: Of the intensities, "HU" or "".
    windows: (name, black, white), the first one is shown at first.
    levels: Intensity of each code of the image.
    image, reference, prediction, mistakes: Packed bytes in base64; empty where there are none.
    """

    shape: Sequence[int]
    affine: Sequence[Sequence[float]]
    start: Sequence[float]
    unit: str
    windows: Sequence[tuple[str, float, float]]
    levels: Sequence[float]
    image: str
    reference: str
    prediction: str
    mistakes: str

    @property
    def size(self) -> int:
        """Bytes of its voxels in the page."""
        return sum(map(len, (self.image, self.reference, self.prediction, self.mistakes)))


@dataclass(frozen=True)
class _Shades:
    """How an image is shown: its windows, and the intensity of each code."""

    windows: list[tuple[str, float, float]]
    levels: np.ndarray
    is_hu: bool

    @classmethod
    def of(cls, image: np.ndarray, given: tuple[float, float] | None) -> "_Shades":
        low, high, is_hu = window_of(image, None)
        windows = [(name, *span) for name, span in CT_WINDOWS.items()] if is_hu else [("all", low, high)]
        if given is not None:
            windows = [("given", *given), *windows]
        ends = [end for _, *span in windows for end in span]
        return cls(windows, HU_LEVELS if is_hu else np.linspace(min(ends), max(ends), 256, dtype=np.float32), is_hu)

    def codes(self, voxels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """uint8 of a shape, each the mean of the voxels that it covers in a slice."""
        between = (self.levels[1:] + self.levels[:-1]) / 2
        codes = np.empty(shape, np.uint8)
        for z, made in zip(_middles(shape, voxels.shape)[0], codes):
            slice_ = Image.fromarray(voxels[z].astype(np.float32)).resize((shape[2], shape[1]), Image.Resampling.BOX)
            made[:] = np.searchsorted(between, np.asarray(slice_))
        return codes


def viewer_volume(
    image: np.ndarray | None,
    reference: Volume,
    prediction: np.ndarray,
    reference_indices: Mapping[int, int],
    prediction_indices: Mapping[int, int],
    window: tuple[float, float] | None = None,
    mistakes: Mistakes | None = None,
    most_bytes: int = CASE_BYTES,
) -> ViewerVolume:
    """Crop, reduce and pack a case.

    Args:
        image: (Z, Y, X) intensities; None: label maps on black.
        reference: Label map on the grid of the image; so is the prediction.
        reference_indices: Stored value -> number of its class on the page, 1 ... 255; others are not drawn.
        window: Intensities shown as black and white at first; None: soft tissue for HU, else what most voxels span.
        most_bytes: In the page; the resolution falls until the voxels fit.

    Raises:
        UserError: The label maps do not lie on the grid of the image, or there are more than 255 classes; it names no file.
    """
    check_one_grid(image, reference.array, prediction)
    if max((0, *reference_indices.values(), *prediction_indices.values())) > 255:
        raise UserError("more than 255 classes, which a viewer cannot show")
    margins = [round(MARGIN_MM / mm) for mm in reference.spacing]
    box = tuple(
        slice(max(0, part.start - margin), None if part.stop is None else part.stop + margin)
        for part, margin in zip(box_around([reference.array, prediction]), margins)
    )
    corner = [part.start for part in box]
    full = [reference.array[box], prediction[box]]
    shades = None if image is None else _Shades.of(image, window)
    most = min(MOST_VOXELS, full[0].size)
    while True:
        shape = _reduced_shape(full[0].shape, reference.spacing, most)
        labels = [_nearest(label_map, shape) for label_map in full]
        grid = _reduced_grid(reference.grid, corner, full[0].shape, shape)
        made = ViewerVolume(
            grid.shape,
            np.round(grid.nifti_affine, 5).tolist(),
            _start(grid, labels, mistakes),
            "HU" if shades and shades.is_hu else "",
            shades.windows if shades else [("labels", 0.0, 1.0)],
            np.round(shades.levels, 4).tolist() if shades else [0.0],
            _packed(shades.codes(image[box], shape)) if shades and image is not None else "",
            _packed_labels(labels[0], reference_indices),
            _packed_labels(labels[1], prediction_indices),
            "" if mistakes is None else _packed(looked_up(mistakes.codes, *labels)),
        )
        if made.size <= most_bytes:
            return made
        most = int(np.prod(shape) * min(0.9, 0.95 * most_bytes / made.size))


def bytes_of_each(count: int) -> int:
    """What each of some volumes may take in a page."""
    return min(CASE_BYTES, PAGE_BYTES // max(1, count))


def _reduced_shape(shape: Sequence[int], spacing: Sequence[float], most: int) -> tuple[int, ...]:
    """With as many voxels at most: the finest axes are coarsened first."""

    def at(mm: float) -> tuple[int, ...]:
        return tuple(max(1, min(length, MOST_ALONG, int(length * its / mm))) for length, its in zip(shape, spacing))

    low, high = min(spacing), max(length * its for length, its in zip(shape, spacing))
    if np.prod(at(low)) <= most:
        return at(low)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if np.prod(at(middle)) <= most else (middle, high)
    return at(high)


def _reduced_grid(grid: Grid, corner: Sequence[int], cropped: Sequence[int], shape: Sequence[int]) -> Grid:
    """Of voxels that lie beside each other as those of the crop do; corner, cropped, shape: Along z, y, x."""
    steps = np.array([old / new for old, new in zip(cropped, shape)])[::-1]
    first = np.array(corner[::-1]) + (steps - 1) / 2
    return Grid(tuple(shape[::-1]), grid.spacing * steps, grid.position(first.tolist()), grid.direction)


def _middles(shape: Sequence[int], full: Sequence[int]) -> list[np.ndarray]:
    """Along each axis the voxel in the middle of each new one."""
    return [((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(shape, full)]


def _nearest(label_map: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The voxels in the middle; what would be lost altogether is put where it was."""
    small = label_map[np.ix_(*_middles(shape, label_map.shape))]
    for value in np.setdiff1d(distinct(label_map), distinct(small)):
        places = np.nonzero(label_map == value)
        small[tuple(at * new // old for at, new, old in zip(places, shape, label_map.shape))] = value
    return small


def _packed_labels(label_map: np.ndarray, indices: Mapping[int, int]) -> str:
    others = max(indices, default=0) + 1  # whatever values there are besides
    table = np.zeros(others + 1, np.uint8)
    table[list(indices)] = list(indices.values())
    return _packed(table[np.clip(label_map, 0, others)])


def _packed(voxels: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(voxels.tobytes(), 6)).decode()


def _start(grid: Grid, labels: Sequence[np.ndarray], mistakes: Mistakes | None) -> list[float]:
    """Within the largest mistake of the worst class; the middle of the volume where there is none."""
    index = [length // 2 for length in labels[0].shape]
    places = None if mistakes is None else mistakes.worst_places(*labels)
    if places is not None:
        z = int(places.sum((1, 2)).argmax())
        y = int(places[z].sum(1).argmax())
        along = np.flatnonzero(places[z, y])
        index = [z, y, int(along[len(along) // 2])]
    position = grid.position(index[::-1])
    return np.round(position * (-1, -1, 1), 3).tolist()  # LPS -> RAS
