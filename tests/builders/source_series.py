"""CT series of every geometry, as archives have them: oblique, tilted gantry, non-square pixels, reversed, multi-frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, generate_uid

from builders.dicom import new_file, write_enhanced

PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "P-17",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyID": "S1",
    "StudyDate": "20200304",
    "StudyTime": "101112",
    "AccessionNumber": "A-5",
    "ReferringPhysicianName": "",
}


@dataclass(frozen=True)
class Geometry:
    """Of a made series.

    direction: (3, 3), rows, columns and normal as columns (LPS).
    spacing: Between columns, rows and slices, mm.
    drift: Of the gantry, mm from slice to slice along rows and columns.
    size: Columns, rows, slices.
    is_reversed: Files and their numbers run against the normal.
    frames: Order of the frames in one file; None: a file per slice.
    """

    name: str
    direction: np.ndarray
    spacing: tuple[float, float, float]
    drift: tuple[float, float]
    size: tuple[int, int, int]
    is_reversed: bool
    frames: tuple[int, ...] | None

    def position(self, index: int) -> np.ndarray:
        """Centre of the first voxel of a slice, mm."""
        way = (self.drift[0] * index, self.drift[1] * index, self.spacing[2] * index)
        return np.array([-31.25, 12.5, 100.75]) + self.direction @ way


def geometries(count: int = 50) -> list[Geometry]:
    """The same ones in every call, all kinds mixed."""
    random = np.random.default_rng(16)
    found = []
    for number in range(count):
        direction = np.eye(3)
        if oblique := number % 3 > 0:
            q, r = np.linalg.qr(random.normal(size=(3, 3)))
            direction = q * np.sign(np.diag(r))
            direction[:, 2] = np.cross(direction[:, 0], direction[:, 1])
        spacing = tuple(np.round(random.uniform(0.4, 5, 3), 3).tolist())
        tilted = number % 2 == 1
        drift = tuple(np.round(random.uniform(-1.4, 1.4, 2), 3).tolist()) if tilted else (0.0, 0.0)
        size = tuple(random.integers((9, 7, 4), (24, 22, 12)).tolist())
        frames = tuple(random.permutation(size[2]).tolist()) if number % 4 == 2 else None
        is_reversed = number % 5 < 2
        kinds = {"oblique": oblique, "tilted": tilted, "reversed": is_reversed, "multiframe": frames is not None}
        name = "_".join([str(number), *(kind for kind, has in kinds.items() if has)])
        found.append(Geometry(name, direction, spacing, drift, size, is_reversed, frames))
    return found


def write_series(folder: Path, geometry: Geometry, seed: int = 0, **tags) -> list[Path]:
    """Write the files of a series; returns them in the order of the normal (one file where it is multi-frame).

    Args:
        tags: Attributes that every file gets instead of the usual ones; None removes one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows, count = geometry.size
    values = np.random.default_rng(seed).integers(-1000, 1000, (count, rows, columns)).astype(np.int16)
    same = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    paths = []
    for index in range(count):
        number = count - index if geometry.is_reversed else index + 1
        path = folder / f"{number:03d}.dcm"
        file = new_file(path, CTImageStorage, "CT")
        head = {**PATIENT, **same, "InstanceNumber": number, "SeriesNumber": 3, "PositionReferenceIndicator": ""}
        for name, value in head.items():
            setattr(file, name, value)
        file.ImageType, file.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "Scanner"
        file.ImageOrientationPatient = [f"{v:.10g}"[:16] for v in (*geometry.direction[:, 0], *geometry.direction[:, 1])]
        file.ImagePositionPatient = [f"{v:.9f}"[:16] for v in geometry.position(index)]
        file.PixelSpacing, file.SliceThickness = [geometry.spacing[1], geometry.spacing[0]], geometry.spacing[2]
        file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation, file.RescaleSlope, file.RescaleIntercept = 15, 1, 1, 0
        file.PixelData = values[index].tobytes()
        _set(file, tags)
        file.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths if geometry.frames is None else [_in_one_file(folder / "all.dcm", paths, geometry.frames, tags)]


def _in_one_file(path: Path, slices: list[Path], frames: tuple[int, ...], tags) -> Path:
    write_enhanced(path, slices, order=frames, shared=("orientation", "spacing"))
    file, first = pydicom.dcmread(path), pydicom.dcmread(slices[0])
    for name in (*PATIENT, "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "ImageType"):
        if name in first:
            setattr(file, name, first[name].value)
    file.InstanceNumber, file.Manufacturer = 1, "Scanner"
    _set(file, {name: value for name, value in tags.items() if name not in PATIENT})
    file.save_as(path, enforce_file_format=True)
    for each in slices:
        each.unlink()
    return path


def _set(file: pydicom.Dataset, tags) -> None:
    for name, value in tags.items():
        if value is not None:
            setattr(file, name, value)
        elif name in file:
            delattr(file, name)
