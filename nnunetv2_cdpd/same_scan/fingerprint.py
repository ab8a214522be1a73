"""Fingerprint: a coarse copy of an image by which the same scan is found again in another dataset.

A grid of 6 mm along the axes of the body, intensities relative to those of air and soft tissue: neither the file format
nor the voxel size, nor an offset or a factor of the intensities changes it much. Flips and cropped slices are dealt with
where fingerprints are compared (`pairs`). Geometry and intensities of the image are kept along, for the checks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from threadpoolctl import threadpool_limits

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, corners_of
from nnunetv2_cdpd.volumes.reading import read_sitk

STEP_MM = 6.0
MIN_STEPS = 5  # a body that is shorter than this along an axis tells too little
UNITS = 150  # stored value of soft tissue; air is 0
BODY = UNITS // 2  # what is brighter is body
MIN_AREA = 60  # steps: 22 cm2 of body; an axial slice with less shows a table or an arm rest
PAD_RANGE = 1500.0  # scanners fill the corners outside their field of view with a value far below that of air ...
AIR_BELOW_TISSUE = 1100.0  # ... which is at most this far below soft tissue in HU
PIXEL_MM = 1.6  # finer pixels are skipped: each step still averages more than a dozen of them per slice
MAX_SAMPLES = 400_000  # voxels from which percentiles are taken
PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)


@dataclass(frozen=True)
class ImageFacts:
    """What an image file says of itself; the axes run from right to left, front to back and feet to head.

    size: Voxels.
    spacing: mm.
    orientation: Towards which side of the body the axes of the file run, like "LPS".
    oblique_degrees: Largest angle between an axis of the file and the nearest one of the body.
    minimum, maximum: Of all voxels.
    percentiles: At PERCENTILES.
    air, tissue: Medians of what is dark and what is bright; about -1000 and 50 in HU.
    body_centre: Of the bright voxels, mm towards the patient's left, back and head.
    corners: Middles of the file's first and last voxel, likewise.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    orientation: str
    oblique_degrees: float
    minimum: float
    maximum: float
    percentiles: tuple[float, ...]
    air: float
    tissue: float
    body_centre: tuple[float, float, float]
    corners: tuple[float, ...]


@dataclass(frozen=True)
class Fingerprint:
    """volume: uint8 (Z, Y, X), feet to head, front to back, right to left, one voxel per STEP_MM, cut to the body.
    None: there is too little of a body to tell it from others.
    """

    facts: ImageFacts
    volume: np.ndarray | None

    def save(self, path: Path) -> None:
        empty = np.zeros((0, 0, 0), np.uint8)
        arrays: dict[str, Any] = {f"fact_{name}": np.asarray(value) for name, value in asdict(self.facts).items()}
        with path.open("wb") as file:
            np.savez_compressed(file, volume=empty if self.volume is None else self.volume, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Raises ValueError, KeyError or OSError where the file is none of ours or damaged."""
        with np.load(path, allow_pickle=False) as stored:
            facts = ImageFacts(**{name: _plain(stored[f"fact_{name}"]) for name in ImageFacts.__dataclass_fields__})
            volume = stored["volume"]
        return cls(facts, volume if volume.size else None)


@threadpool_limits.wrap(limits=1)  # for small products, threads wait for each other longer than they compute
def fingerprint(path: str | Path) -> Fingerprint:
    """Read an image once and take its fingerprint; of several channels in one file, the first.

    Raises:
        UserError: The file is missing or damaged, the image is not 3D, or holds voxels that are not finite.
    """
    image = read_sitk(Path(path))
    if image.GetDimension() == 4:
        image = image[..., 0]
    array = sitk.GetArrayViewFromImage(image)
    if image.GetDimension() != 3 or array.ndim != 3:
        raise UserError(f"{path} is not a 3D image")
    minimum, maximum = float(array.min()), float(array.max())
    grid = Grid.of_image(image)
    letters, axes = grid.axes or "", grid.body_axes
    volume, air, tissue = _relative(_coarse(array, grid.spacing[::-1].tolist()))
    centre = _body_centre(volume, grid)
    volume = volume.transpose([2 - axis for axis in reversed(axes)])  # the array runs z, y, x of the file
    volume = np.flip(volume, tuple(2 - k for k, axis in enumerate(axes) if letters[axis] in "RAI"))
    step = max(1, round((array.size / MAX_SAMPLES) ** (1 / 3)))
    facts = ImageFacts(
        size=(grid.shape[axes[0]], grid.shape[axes[1]], grid.shape[axes[2]]),
        spacing=(float(grid.spacing[axes[0]]), float(grid.spacing[axes[1]]), float(grid.spacing[axes[2]])),
        orientation=letters,
        oblique_degrees=float(np.degrees(np.arccos(np.clip(np.abs(grid.direction).max(0), 0, 1)).max())),
        minimum=minimum,
        maximum=maximum,
        percentiles=tuple(np.percentile(array[::step, ::step, ::step], PERCENTILES).tolist()),
        air=air,
        tissue=tissue,
        body_centre=centre,
        corners=corners_of(grid),
    )
    return Fingerprint(facts, _cut_to_body(volume))


def _coarse(array: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """float32 means over boxes of STEP_MM; array: (Z, Y, X) of the file, spacing: mm in that order."""
    skip = [1, *(max(1, int(PIXEL_MM / mm)) for mm in spacing[1:])]
    along_y, along_x = (_weights(len(range(0, n, s)), mm * s) for n, mm, s in zip(array.shape[1:], spacing[1:], skip[1:]))
    planes = np.stack([along_y @ plane[:: skip[1], :: skip[2]].astype(np.float32) @ along_x.T for plane in array])
    return np.tensordot(_weights(len(planes), spacing[0]), planes, 1)


def _weights(length: int, spacing: float) -> np.ndarray:
    """float32 (steps, length): the share of each voxel in each step; what does not fill a step is cut off at both ends."""
    steps, start = _steps(length, spacing)
    overlap = overlaps(start + STEP_MM * np.arange(steps + 1), spacing * np.arange(length + 1))
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def overlaps(bins: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """(..., bins, voxels): the length that each bin and each voxel of a line have in common; both by their edges."""
    return (np.minimum(bins[..., 1:, None], voxels[1:]) - np.maximum(bins[..., :-1, None], voxels[:-1])).clip(0)


def _steps(length: int, spacing: float) -> tuple[int, float]:
    """Number of steps along an axis, and mm before the first one."""
    steps = max(1, int(length * spacing / STEP_MM + 1e-6))
    return steps, max(0.0, (length * spacing - steps * STEP_MM) / 2)


def _body_centre(volume: np.ndarray, grid: Grid) -> tuple[float, float, float]:
    """Where the body of a coarse volume, in the axes of the file, lies in space; the middle of the image if there is none."""
    found = np.nonzero(volume > BODY)
    index = []
    for axis, (length, mm) in enumerate(zip(grid.shape, grid.spacing.tolist())):
        steps = found[2 - axis].mean() + 0.5 if found[0].size else volume.shape[2 - axis] / 2
        index.append((_steps(length, mm)[1] + STEP_MM * steps) / mm - 0.5)
    x, y, z = grid.position(index).tolist()
    return x, y, z


def _relative(coarse: np.ndarray) -> tuple[np.ndarray, float, float]:
    """uint8: 0 for air, UNITS for soft tissue, or for whatever takes their places in an image that is no CT; and the two."""
    threshold = _otsu(coarse)
    tissue = float(np.percentile(coarse[coarse > threshold], 90)) if (coarse > threshold).any() else threshold
    if tissue - coarse.min() > PAD_RANGE:
        coarse = np.maximum(coarse, tissue - AIR_BELOW_TISSUE)
        threshold = _otsu(coarse)
    bright = coarse > threshold
    if not bright.any() or bright.all():
        return np.zeros(coarse.shape, np.uint8), float(coarse.min()), float(coarse.max())
    low, high = float(np.median(coarse[~bright])), float(np.median(coarse[bright]))
    return np.rint((UNITS * (coarse - low) / max(high - low, 1e-6)).clip(0, 255)).astype(np.uint8), low, high


def _cut_to_body(volume: np.ndarray) -> np.ndarray | None:
    """The smallest box around the body; None where that is too small."""
    body = volume > BODY
    body &= (body.sum((1, 2)) >= MIN_AREA)[:, None, None]
    boxes = ndimage.find_objects(body.view(np.uint8))
    if not boxes or min(volume[boxes[0]].shape) < MIN_STEPS:
        return None
    return np.ascontiguousarray(volume[boxes[0]])


def _otsu(coarse: np.ndarray) -> float:
    if coarse.min() == coarse.max():
        return float(coarse.max())
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetNumberOfHistogramBins(256)
    otsu.Execute(sitk.GetImageFromArray(np.ascontiguousarray(coarse)))
    return otsu.GetThreshold()


def _plain(value: np.ndarray) -> Any:
    plain = value.tolist()
    return tuple(plain) if isinstance(plain, list) else plain
