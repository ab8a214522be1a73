"""Label files: structure sets and segmentations among DICOM files, and those of a series."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydicom

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.volumes.dicom.folder import DICOM_NAMES
from nnunetv2_cdpd.volumes.dicom.header import read_elements
from nnunetv2_cdpd.volumes.dicom.label_object import LabelObject
from nnunetv2_cdpd.volumes.dicom.segmentation import Segmentation
from nnunetv2_cdpd.volumes.dicom.structure_set import StructureSet

_UNTIL_MARK = 0xFFFFFFFF  # length of an element that ends with a mark
_KINDS: dict[str, type[LabelObject]] = {
    "1.2.840.10008.5.1.4.1.1.481.3": StructureSet,
    "1.2.840.10008.5.1.4.1.1.66.4": Segmentation,
    "1.2.840.10008.5.1.4.1.1.66.7": Segmentation,  # of label maps
}


def is_label_file(path: Path) -> bool:
    """Whether a file is a structure set or a segmentation, by its first elements.

    Raises:
        UserError: It is a damaged file of DICOM.
    """
    return _sop_class(path) in _KINDS


def label_files_among(files: Iterable[Path]) -> list[Path]:
    """Structure sets and segmentations among the files of a case, each once.

    Raises:
        UserError: A file is damaged, or named like DICOM and is not.
    """
    found = []
    for path in dict.fromkeys(files):
        kind = _sop_class(path)
        if kind is None and path.suffix.lower() in DICOM_NAMES:
            raise UserError(f"{path} is no whole DICOM file; take it out of the folder or copy it again (it begins otherwise)")
        if kind in _KINDS:
            found.append(path)
    return found


def read_label_object(path: Path) -> LabelObject:
    """A structure set or a segmentation.

    Raises:
        UserError: It is damaged.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of values that DICOM does not allow
            data = pydicom.dcmread(file, stop_before_pixels=True, force=True)  # old files lack the mark
            found = _KINDS[str(data.SOPClassUID)](path, data, os.fstat(file.fileno()).st_size - file.tell())
            _check_whole(data, found.needed)
            _ = found.structures, found.series, found.frames_of_reference  # read here, where a damaged one is told
    except Exception as error:  # whatever pydicom raises
        raise UserError(f"{path}: is no whole structure set or segmentation ({reason(error)}); export it again") from error
    return found


def _check_whole(data: pydicom.Dataset, needed: Iterable[str]) -> None:
    """Raise ValueError if a file ended early, of which pydicom says nothing: its last element is short, or others are missing."""
    for tag in tuple(data.keys()):
        element: Any = data.get_item(tag)  # as it is stored, where nothing was made of it yet
        if isinstance(element.value, bytes) and len(element.value) < (length := getattr(element, "length", 0)) < _UNTIL_MARK:
            raise ValueError(f"it ends early, {length - len(element.value)} bytes are missing")
    if missing := [name for name in needed if name not in data]:
        raise ValueError(f"it ends early or lacks {missing[0]}")


def _sop_class(path: Path) -> str | None:
    """Unique identifier of what a file is; None if it is not DICOM."""
    data, _ = read_elements(path, ("SOPClassUID",))
    return None if data is None else str(data.get("SOPClassUID") or "")
