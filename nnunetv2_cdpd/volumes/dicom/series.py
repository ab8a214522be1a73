"""Series: slices of one volume, checked, sorted by position, in HU."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.volumes.dicom.folder import find_series
from nnunetv2_cdpd.volumes.dicom.header import Slice
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.value_types import smallest_exact

UNEVEN = 0.1  # how far a slice may lie from its place on the regular grid, of the distance between slices; or OFF_MM
TILTED = 0.5  # how far slices may wander sideways over the whole series, of a pixel
MISSING = 1.5  # of the usual distance between slices
OFF_MM = 0.1  # how far it may, in any direction, because some scanners round positions so
_SAME_MM = 1e-3
_ROUNDED = 1e-6  # voxels that rounding may add to a way
_UNITS = ("", "HU", "HU_MOD", "US")  # rescaled values of CT; US is "unspecified"


@dataclass(frozen=True)
class Series:
    """A checked series.

    slices: Sorted along the normal of the slices.
    grid: Where their voxels lie; z is the normal of the slices. With a tilted gantry, only of the first slice.
    drift: How far the last slice lies beside the first, as a vector in their plane, mm (LPS); 0 unless the gantry was tilted.
    notes: For the user.
    strays: Slices that were left out and that a folder of one series should not hold, copies and others: each in words.
    """

    slices: tuple[Slice, ...]
    grid: Grid
    drift: np.ndarray
    notes: tuple[str, ...]
    strays: tuple[str, ...]

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal of the slices and the way from slice to slice; 0 unless the gantry was tilted."""
        return float(np.degrees(np.arctan2(np.linalg.norm(self.drift), self._depth)))

    @property
    def _depth(self) -> float:
        return float(self.grid.spacing[2] * (len(self.slices) - 1))

    @property
    def upright(self) -> Grid:
        """Grid of `image`: the series' own; with a tilted gantry larger within the planes, so that all slices lie in it."""
        last = self.way_in_plane(len(self.slices) - 1)
        low = np.floor(np.minimum(last, 0) + _ROUNDED)
        high = np.ceil(np.maximum(last, 0) - _ROUNDED)
        grid = self.grid
        width, height = (np.array(grid.shape[:2]) + (high - low)).astype(int).tolist()
        return replace(grid, shape=(width, height, grid.shape[2]), origin=grid.position([*low, 0]))

    def way_in_plane(self, index: int) -> np.ndarray:
        """How far a slice lies beside the first one, in voxels along x and y; 0 unless the gantry was tilted."""
        share = index / (len(self.slices) - 1)
        return share * self.drift @ self.grid.direction[:, :2] / self.grid.spacing[:2]

    def read(self) -> np.ndarray:
        """HU (x, y, z), slice by slice: int16 where exact.

        Raises:
            UserError: A file's pixels cannot be read.
        """
        volume = np.empty(self.grid.shape, np.int16, order="F")
        for index, values in _read_slices(self.slices):
            exact = smallest_exact(values, self.slices[index].path)
            kind = np.result_type(volume, exact)
            if kind != volume.dtype:  # rare: fractions of HU, or slices that differ in what they store
                volume = volume.astype(np.float32 if kind == np.float64 else kind, order="F")
            volume[..., index] = exact.T
        return volume

    def image(self) -> sitk.Image:
        """HU on the grid `upright`.

        Slices of a tilted gantry are moved within their planes (linear interpolation there, none across slices); what lies
        outside of them gets the lowest value of the volume.

        Raises:
            UserError: A file's pixels cannot be read.
        """
        volume, grid = self.read(), self.grid
        image = sitk.GetImageFromArray(volume.T)
        image.SetOrigin(grid.origin.tolist())
        image.SetSpacing(grid.spacing.tolist())
        image.SetDirection(grid.direction.ravel().tolist())
        if not self.drift.any():
            return image
        # A point lies sideways of where `image` has it in proportion to its depth.
        sideways = sitk.AffineTransform(3)
        sideways.SetMatrix((np.eye(3) - np.outer(self.drift, grid.direction[:, 2]) / self._depth).ravel().tolist())
        sideways.SetCenter(grid.origin.tolist())
        outside = float(volume.min())
        geometry = self.upright.origin.tolist(), image.GetSpacing(), image.GetDirection()
        return sitk.Resample(image, self.upright.shape, sideways, sitk.sitkLinear, *geometry, outside, image.GetPixelID())


def read_series(files: Sequence[Path], modality: str | None = "CT") -> Series:
    """Read the headers of a series and check that it is one volume of evenly spaced slices.

    Args:
        files: All files of the series; what is no slice of a volume is passed over, with a note.
        modality: Of the slices; None: any that makes volumes.

    Raises:
        UserError: No or several series, slices that differ in size, orientation or spacing, without place in space, missing,
            unevenly spaced, beside the others, two different ones at a place, or CT of which only some have a rescale.
    """
    found, passed_over, strays = find_series(files, modality)
    what = modality or "volume"
    if not found:
        where = files[0].parent if files else "no files"
        raise UserError(f"{where}: no {what} slices; there are {', '.join(passed_over[:8]) or 'no files'}")
    if len(found) > 1:
        first, second = (entry.files[0] for entry in found[:2])
        all_of_them = listed([str(entry) for entry in found])
        raise UserError(f"{first} and {second} are of two series mixed in one folder, {all_of_them}; keep one of them")
    headers = found[0].headers
    for header in headers:
        if header.problem:
            raise UserError(f"{header.path} {header.problem}")
    slices = [entry for header in headers for entry in header.slices]
    _check_alike(slices, headers[0].modality)
    row, column = slices[0].orientation
    normal = np.cross(row, column)
    slices.sort(key=lambda entry: (float(entry.position @ normal), _key(entry)))
    slices, copies = _without_copies(slices)
    if len(slices) < 2:
        raise UserError(f"{slices[0].path} is the only slice of its series; a volume needs more")
    step, drift = _check_positions(slices, normal)
    notes = [f"passed over: {', '.join(passed_over)}"] if passed_over else []
    notes += [f"{len(copies)} cop{'y' if len(copies) == 1 else 'ies'} of slices left out"] if copies else []
    if headers[0].modality == "CT" and not any(entry.rescale for entry in slices):
        notes.append("no RescaleIntercept in the DICOM headers, stored values taken as HU")
    spacing = np.array([*slices[0].spacing, step])
    grid = Grid((*slices[0].size, len(slices)), spacing, slices[0].position, np.stack([row, column, normal], axis=1))
    return Series(tuple(slices), grid, drift, tuple(notes), (*copies, *strays))


def _check_alike(slices: Sequence[Slice], modality: str) -> None:
    first = slices[0]
    for entry in slices:
        pair = f"{first.path} and {entry.path} are of one series but differ in"
        if entry.size != first.size or not np.allclose(entry.spacing, first.spacing, rtol=1e-3):
            raise UserError(f"{pair} size or pixel spacing; keep the files of one volume")
        if not np.allclose(entry.orientation, first.orientation, atol=1e-3):
            raise UserError(f"{pair} orientation (a localizer?); keep the files of one volume")
        if modality == "CT" and entry.rescale_type not in _UNITS:
            raise UserError(f"{entry.path}: its values are {entry.rescale_type}, not HU; take another series of the scan")
    without = [entry.path for entry in slices if entry.rescale is None]
    if modality == "CT" and 0 < len(without) < len(slices):
        raise UserError(
            f"{without[0]} has no RescaleIntercept, other slices of its series have ({len(without)} of {len(slices)} lack it); "
            "export the series again"
        )


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """The sorted slices without those that say the same as another at the same place, and these in words."""
    kept: list[Slice] = []
    copies: list[str] = []
    for entry in slices:
        if not kept or np.linalg.norm(entry.position - kept[-1].position) > _SAME_MM:
            kept.append(entry)
            continue
        values, again = (values.copy() for _, values in _read_slices([kept[-1], entry]))
        if not np.array_equal(values, again):
            raise UserError(
                f"{kept[-1].path} and {entry.path} are different slices at one position (several phases in one series?); keep "
                "the files of one volume"
            )
        copies.append(f"{entry.path} is a copy of {kept[-1].path}")
    return kept, copies


def _check_positions(slices: Sequence[Slice], normal: np.ndarray) -> tuple[float, np.ndarray]:
    """Distance from slice to slice, and how far the last one lies beside the first if the gantry was tilted, else 0."""
    positions = np.array([entry.position for entry in slices])
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if gaps.min() <= _SAME_MM:
        index = int(gaps.argmin())
        raise UserError(
            f"{slices[index].path} and {slices[index + 1].path} lie in one plane, beside each other; keep the files of one volume"
        )
    if gaps.max() > MISSING * usual:
        index = int(gaps.argmax())
        count = max(1, round(gaps[index] / usual) - 1)
        raise UserError(
            f"{count} slice{'s' * (count > 1)} missing between {slices[index].path} and {slices[index + 1].path} "
            f"({gaps[index]:.2f} mm apart, usually {usual:.2f} mm); export the series again"
        )
    share = np.arange(len(slices)) / (len(slices) - 1)
    step = (along[-1] - along[0]) / (len(slices) - 1)
    if np.abs(along - along[0] - share * (along[-1] - along[0])).max() > max(UNEVEN * step, OFF_MM):
        index = int(np.abs(gaps - usual).argmax())
        raise UserError(
            f"{slices[index].path} and {slices[index + 1].path} are {gaps[index]:.3f} mm apart, the other slices {usual:.3f} mm; "
            "uneven distances, resample the series first"
        )
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    beside = np.linalg.norm(sideways - share[:, None] * sideways[-1], axis=1)
    if beside.max() > OFF_MM:
        worst = slices[int(beside.argmax())]
        raise UserError(f"{worst.path} lies {beside.max():.2f} mm beside the other slices; take it out or mend the series")
    tilted = np.linalg.norm(sideways[-1]) > TILTED * slices[0].spacing.min()
    return float(step), sideways[-1] if tilted else np.zeros(3)


def _read_slices(slices: Sequence[Slice]) -> Iterator[tuple[int, np.ndarray]]:
    """Index and rescaled values (y, x) of each slice, file by file; to be copied before the next one is asked for."""
    by_file: dict[Path, list[tuple[int, Slice]]] = {}
    for index, entry in enumerate(slices):
        by_file.setdefault(entry.path, []).append((index, entry))
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for path, entries in by_file.items():
        reader.SetFileName(str(path))
        try:
            image = reader.Execute()
            frames = sitk.GetArrayViewFromImage(image).reshape(-1, *slices[0].size[::-1])
            for index, entry in entries:
                yield index, _rescaled(frames[entry.frame], entry)
        except (RuntimeError, ValueError, IndexError) as error:
            how = entries[0][1].stored_as
            raise UserError(f"{path}: its pixels ({how}) cannot be read; copy it again, or store it uncompressed") from error


def _rescaled(values: np.ndarray, entry: Slice) -> np.ndarray:
    """A frame's values by its own slope and intercept, where those of its file's first frame were used."""
    if entry.rescale == entry.read_with:
        return values
    (slope, intercept), (own_slope, own_intercept) = entry.read_with or (1.0, 0.0), entry.rescale or (1.0, 0.0)
    return np.rint((values.astype(float) - intercept) / slope) * own_slope + own_intercept


def _key(entry: Slice) -> tuple[Path, int]:
    return entry.path, entry.frame
