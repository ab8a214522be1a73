"""Headers: what one DICOM file says of itself, one slice per frame."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from nnunetv2_cdpd.errors import UserError, is_text, reason

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MARK = b"DICM"
_UNMARKED = (b"\x02\0", b"\x08\0")  # old files lack the mark and begin with an element of one of the first groups
_PERPENDICULAR = 1e-2  # cosine that rounding may leave between rows and columns
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """One frame of a file.

    frame: Counted from 0; files of one slice have one frame.
    position: Of the first voxel's centre, mm in the patient (LPS).
    orientation: Direction of the rows and of the columns, (2, 3), perpendicular unit vectors (LPS).
    spacing: Between columns, between rows, mm.
    size: Columns, rows.
    rescale: Slope and intercept, from stored values to HU; None: the file has none.
    read_with: Those that GDCM reads the file with: its first frame's.
    rescale_type: Unit of rescaled values as DICOM names it, "" where not given.
    stored_as: DICOM's name of the way pixels are stored.
    instance: Number in the series, None where not given; those of one file's frames are one.
    sop_class, uid, frame_of_reference: Identifiers of the file's kind, of the file, of its space; "" where not given.
    """

    path: Path
    frame: int
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    size: tuple[int, int]
    rescale: tuple[float, float] | None
    read_with: tuple[float, float] | None
    rescale_type: str
    stored_as: str
    instance: int | None = None
    sop_class: str = ""
    uid: str = ""
    frame_of_reference: str = ""


@dataclass(frozen=True)
class Header:
    """A file.

    kind: What DICOM calls such files, as "CT Image" or "RT Structure Set", or "localizer".
    series: Its unique identifier.
    number, description: The series' own, None and "" where not given.
    is_slice: Whether it is an image of a volume, and no localizer, screenshot, report or the like.
    slices: Empty if there is a problem.
    problem: Why the slices have no place in space, or no values.
    """

    path: Path
    kind: str
    modality: str
    series: str
    number: int | None
    description: str
    is_slice: bool
    slices: tuple[Slice, ...] = ()
    problem: str | None = None


def read_header(path: Path) -> Header | None:
    """The header of a file; None if it is not DICOM.

    Raises:
        UserError: It is damaged.
    """
    if not is_text(str(path)):  # GDCM ends the process
        raise UserError(f"{str(path)!a}: the name holds bytes that are no UTF-8; rename it")
    data, num_bytes = read_elements(path)
    if data is None:
        return None
    sop_class = UID(str(_get(data, "SOPClassUID") or MediaStorageDirectoryStorage))
    kind = sop_class.name.removesuffix(" Storage") if sop_class.name != sop_class else "object of an unknown kind"
    is_image = "Rows" in data and _get(data, "SamplesPerPixel") in (None, 1)
    if kind.endswith("Image") and not is_image:
        kind += " in colour" if "Rows" in data else " without pixels"
    slices: tuple[Slice, ...] = ()
    problem = None
    if is_image:
        try:
            slices = slices_of(path, data)
            problem = lack_of_pixels(data, slices, num_bytes)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            problem = f"has no usable geometry or scale of values in its header ({error})"
    if is_localizer := "LOCALIZER" in (_get(data, "ImageType") or ()):
        kind = "localizer"
    # Screenshots and dose reports are "captured" images of the scan's modality; some archives store slices so, too.
    is_screenshot = sop_class.startswith(_SECONDARY_CAPTURE) and problem is not None
    return Header(
        path,
        kind,
        str(_get(data, "Modality") or ""),
        str(_get(data, "SeriesInstanceUID") or ""),
        _get(data, "SeriesNumber"),
        " ".join(str(_get(data, "SeriesDescription") or "").split()),
        is_image and not is_localizer and not is_screenshot,
        () if problem else slices,
        problem,
    )


def is_dicom(path: Path) -> bool:
    """Whether a file bears DICOM's mark; nothing else of it is read."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == _MARK
    except OSError:
        return False


def lack_of_pixels(data: pydicom.Dataset, slices: Sequence[Slice], num_bytes: int) -> str | None:
    """What is wrong with a file that ends too early; of compressed pixels GDCM says so."""
    syntax = UID(data.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)
    if not num_bytes and not syntax.is_deflated:  # such a file is read to its end at once
        return "holds no pixels; copy it again"
    if syntax not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        return None
    expected = len(slices) * slices[0].size[0] * slices[0].size[1] * int(_get(data, "BitsAllocated") or 0) // 8
    return f"ends within its pixels ({num_bytes} of {expected} bytes); copy it again" if num_bytes < expected else None


def read_elements(path: Path, tags: Sequence[str] = _TAGS) -> tuple[pydicom.Dataset | None, int]:
    """Elements of a file, and how many bytes follow from the pixels on; None if it is not DICOM, UserError if it is damaged."""
    why: Exception | None = None
    try:
        with path.open("rb") as file:
            start = file.read(132)
            file.seek(0)
            is_marked = start[128:] == _MARK
            if not is_marked and start[:2] not in _UNMARKED:
                return None, 0
            data = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(tags))
            num_bytes = os.fstat(file.fileno()).st_size - file.tell()
        is_directory = data.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage  # of all files of a disc
        is_whole = bool(is_directory or data.get("SOPClassUID"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        is_whole, why = False, error
    if is_whole:
        return data, num_bytes
    if is_marked:
        told = "it does not say what it holds" if why is None else reason(why)
        raise UserError(f"{path} is no whole DICOM file; take it out of the series' folder or copy it again ({told})") from why
    return None, 0


def _get(data: pydicom.Dataset, name: str) -> Any:
    """An attribute's value, of what is only told; None if it is missing, empty or nothing that DICOM allows there."""
    with suppress(ValueError):
        return _value(data, name)
    return None


def _value(data: pydicom.Dataset, name: str) -> Any:
    """An attribute's value, of what places and values depend on; None if it is missing or empty.

    Raises:
        ValueError: Nothing that DICOM allows there.
    """
    try:
        return data.get(name)
    except Exception as error:
        raise ValueError(f"{name}: {reason(error)}") from error


def slices_of(path: Path, data: pydicom.Dataset) -> tuple[Slice, ...]:
    """A slice per frame of a file's elements; raises what pydicom and numpy raise where something is missing."""
    if _value(data, "PhotometricInterpretation") == "MONOCHROME1":  # of which GDCM turns the values over
        raise ValueError("MONOCHROME1, dark for high values; store it as MONOCHROME2")
    shared = _first(data, "SharedFunctionalGroupsSequence")
    count = int(_value(data, "NumberOfFrames") or 1)
    groups = _value(data, "PerFrameFunctionalGroupsSequence")
    if not groups and count > 1:
        raise ValueError(f"{count} frames in one file and no position for each; convert it to one file per slice")
    frames = groups or [None]
    if groups and len(groups) != count:
        raise ValueError(f"{count} frames, and {len(groups)} places of frames")
    size = int(_value(data, "Columns")), int(_value(data, "Rows"))
    stored_as = UID(data.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian).name
    instance = _get(data, "InstanceNumber")
    uids = [str(_get(data, name) or "") for name in ("SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID")]
    slices: list[Slice] = []
    for index, frame in enumerate(frames):

        def of(group: str, frame: Any = frame) -> pydicom.Dataset:
            """Where an attribute of this frame stands: in its own group, in that of all frames, or at the top of the file."""
            return _first(frame, group) or _first(shared, group) or data

        orientation = _numbers(of("PlaneOrientationSequence"), "ImageOrientationPatient", 6).reshape(2, 3)
        row, column = orientation / np.linalg.norm(orientation, axis=1, keepdims=True)
        if not abs(row @ column) < _PERPENDICULAR:
            raise ValueError("rows and columns are not perpendicular")
        column = column - (column @ row) * row
        spacing = _numbers(of("PixelMeasuresSequence"), "PixelSpacing", 2)[::-1]
        if not (spacing > 0).all():
            raise ValueError(f"pixel spacing {spacing.tolist()}")
        values = of("PixelValueTransformationSequence")
        rescale = None
        if (intercept := _value(values, "RescaleIntercept")) is not None:
            slope = _value(values, "RescaleSlope")
            rescale = 1.0 if slope is None else float(slope), float(intercept)
            if not rescale[0] or not np.isfinite(rescale).all():
                raise ValueError(f"RescaleSlope {rescale[0]:g}, RescaleIntercept {rescale[1]:g}")
        position = _numbers(of("PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = np.array([row, column / np.linalg.norm(column)])
        read_with = slices[0].rescale if slices else rescale
        unit = str(_value(values, "RescaleType") or "").strip()
        place, scale = (position, orientation, spacing, size), (rescale, read_with, unit)
        slices.append(Slice(path, index, *place, *scale, stored_as, instance, *uids))
    return tuple(slices)


def _first(data: pydicom.Dataset | None, sequence: str) -> pydicom.Dataset | None:
    items = _value(data, sequence) if data is not None else None
    return items[0] if items else None


def _numbers(data: pydicom.Dataset, name: str, count: int) -> np.ndarray:
    values = np.array([float(value) for value in _value(data, name) or ()])
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{name} is missing or incomplete")
    return values
