"""DICOM series of one CT: checked slice by slice, sorted by position, in HU. GDCM (in SimpleITK) reads the files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.conversion.grid import Grid
from nnunetv2_cdpd.conversion.nifti import smallest_exact
from nnunetv2_cdpd.errors import UserError

TILT_DEGREES = 0.2
_DUPLICATE, _MISSING, _UNEVEN = 0.1, 1.5, 0.05  # of the usual distance between slices
_IN_PLANE_MM = 0.1

_SERIES, _MODALITY, _POSITION, _ORIENTATION = "0020|000e", "0008|0060", "0020|0032", "0020|0037"
_SPACING, _ROWS, _COLUMNS, _INTERCEPT = "0028|0030", "0028|0010", "0028|0011", "0028|1052"


@dataclass(frozen=True)
class Slice:
    """Header of one DICOM file.

    position: Of the first voxel's centre, mm in the patient (LPS).
    orientation: Direction of the rows and of the columns, six cosines (LPS).
    spacing: Between rows, between columns, mm.
    """

    path: Path
    series: str
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    size: tuple[int, int]
    rescaled: bool


@dataclass(frozen=True)
class Series:
    """A checked series.

    slices: Sorted along the normal of the slices.
    step: Mean vector from slice to slice, mm (LPS).
    """

    slices: tuple[Slice, ...]
    step: np.ndarray

    @property
    def order(self) -> list[int]:
        """Indices into the files sorted by name, in the order of the slices."""
        by_name = {path: index for index, path in enumerate(sorted(entry.path for entry in self.slices))}
        return [by_name[entry.path] for entry in self.slices]

    @property
    def grid(self) -> Grid:
        first = self.slices[0]
        lps = np.eye(4)
        lps[:3, 0] = first.orientation[:3] * first.spacing[1]
        lps[:3, 1] = first.orientation[3:] * first.spacing[0]
        lps[:3, 2] = self.step
        lps[:3, 3] = first.position
        shape = (first.size[1], first.size[0], len(self.slices))
        return Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)

    @property
    def note(self) -> str | None:
        if any(entry.rescaled for entry in self.slices):
            return None
        return "no RescaleIntercept in the DICOM headers, stored values taken as HU"

    def read(self) -> np.ndarray:
        """HU (x, y, z): int16 where exact.

        Raises:
            UserError: A file's pixels cannot be read.
        """
        volume: np.ndarray | None = None
        for index, entry in enumerate(self.slices):
            try:
                pixels = sitk.GetArrayViewFromImage(image := sitk.ReadImage(str(entry.path))).reshape(entry.size)
            except (RuntimeError, ValueError) as error:
                raise UserError(f"{entry.path}: its pixels cannot be read; download the series again") from error
            if volume is None:
                volume = np.empty((entry.size[1], entry.size[0], len(self.slices)), np.int16, order="F")
            exact = smallest_exact(pixels, entry.path)
            if not np.can_cast(exact.dtype, volume.dtype):  # fractions of HU: rare, but then in every slice
                volume = volume.astype(np.float32, order="F")
            volume[..., index] = exact.T
            del pixels, image
        return volume


def read_series(files: Sequence[Path]) -> Series:
    """Read the headers of a series and check that it is one CT volume on a regular grid.

    Args:
        files: All files of the series, nothing else, in any order.

    Raises:
        UserError: No DICOM file, not CT, mixed series, gantry tilt, a slice twice, missing or beside the others.
    """
    slices = [_read_header(path) for path in files]
    first = slices[0]
    for entry in slices[1:]:
        if entry.series != first.series:
            raise UserError(f"{first.path} and {entry.path} are of two series mixed in one folder; keep one of them")
        if entry.size != first.size or not np.allclose(entry.spacing, first.spacing, rtol=1e-3):
            raise UserError(f"{first.path} and {entry.path} are of one series but differ in size or pixel spacing")
        if not np.allclose(entry.orientation, first.orientation, atol=1e-3):
            raise UserError(f"{first.path} and {entry.path} are of one series but differ in orientation (a localizer?)")
    if len(slices) < 2:
        raise UserError(f"{first.path} is the only slice of its series; a volume needs more")
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    slices.sort(key=lambda entry: float(entry.position @ normal))
    return Series(tuple(slices), _check_positions(slices, normal))


def _check_positions(slices: Sequence[Slice], normal: np.ndarray) -> np.ndarray:
    """The mean step between slices; raises UserError unless all steps are alike and perpendicular to the slices."""
    positions = np.array([entry.position for entry in slices])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if usual <= 0 or (gaps < _DUPLICATE * usual).any():
        index = int(gaps.argmin())
        raise UserError(f"{slices[index].path} and {slices[index + 1].path} are duplicate slices at one position; remove one")
    if (gaps > _MISSING * usual).any():
        index = int(gaps.argmax())
        count = round(gaps[index] / usual) - 1
        raise UserError(
            f"{count} slice{'s' * (count > 1)} missing between {slices[index].path} and {slices[index + 1].path} "
            f"({gaps[index]:.2f} mm apart, usually {usual:.2f} mm); download the series again"
        )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > TILT_DEGREES:
        raise UserError(f"{slices[0].path}: gantry tilt of {tilt:.1f} degrees; straighten the series first, a grid has no shear")
    uneven = np.abs(gaps - usual) > max(_UNEVEN * usual, 0.01)
    if uneven.any():
        index = int(uneven.argmax())
        raise UserError(
            f"{slices[index].path} and {slices[index + 1].path} are {gaps[index]:.3f} mm apart, the other slices {usual:.3f} mm; "
            "uneven distances, resample the series first"
        )
    off = positions - (positions[0] + np.arange(len(slices))[:, None] * step)
    beside = np.linalg.norm(off - (off @ normal)[:, None] * normal, axis=1)
    if beside.max() > _IN_PLANE_MM:
        worst = slices[int(beside.argmax())]
        raise UserError(f"{worst.path} lies {beside.max():.2f} mm beside the other slices; remove it or mend the series")
    return step


def _read_header(path: Path) -> Slice:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(f"{path} is no whole DICOM image; take it out of the series' folder or download it again") from error
    if (modality := _text(reader, _MODALITY)) != "CT":
        raise UserError(f"{path} is not CT (modality {modality or 'not given'}); take its series out")
    if (frames := reader.GetSize()[2:]) and frames[0] != 1:
        raise UserError(f"{path} holds {frames[0]} frames in one file; convert it to one file per slice")
    try:
        return Slice(
            path,
            _text(reader, _SERIES),
            _numbers(reader, _POSITION, 3),
            _numbers(reader, _ORIENTATION, 6),
            _numbers(reader, _SPACING, 2),
            (int(_text(reader, _ROWS)), int(_text(reader, _COLUMNS))),
            bool(_text(reader, _INTERCEPT)),
        )
    except ValueError as error:
        raise UserError(f"{path} has no position, orientation or spacing in its header ({error}); download it again") from error


def _text(reader: sitk.ImageFileReader, tag: str) -> str:
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _numbers(reader: sitk.ImageFileReader, tag: str, count: int) -> np.ndarray:
    parts = _text(reader, tag).split("\\")
    if len(parts) != count:
        raise ValueError(f"tag {tag.replace('|', ',')} is missing or incomplete")
    values = np.array([float(part) for part in parts])
    return values
