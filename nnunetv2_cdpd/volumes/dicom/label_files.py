"""Label files: structure sets and segmentations among DICOM files, and those of a series."""

import os
import warnings
from pathlib import Path

import pydicom

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.volumes.dicom.header import is_dicom
from nnunetv2_cdpd.volumes.dicom.label_object import KINDS, STRUCTURE_SET, LabelObject
from nnunetv2_cdpd.volumes.dicom.segmentation import Segmentation
from nnunetv2_cdpd.volumes.dicom.structure_set import StructureSet


def is_label_file(path: Path) -> bool:
    """Whether a file is a structure set or a segmentation, by its first elements; nothing else of it is read."""
    if not is_dicom(path):
        return False
    try:
        return str(pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).get("SOPClassUID")) in KINDS
    except Exception:  # whatever pydicom raises; of a file that names its kind in its own header, reading it tells why
        return False


def read_label_object(path: Path) -> LabelObject:
    """A structure set or a segmentation.

    Raises:
        UserError: It is damaged.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of values that DICOM does not allow
            data = pydicom.dcmread(file, stop_before_pixels=True)
            found: LabelObject = (StructureSet if data.SOPClassUID == STRUCTURE_SET else Segmentation)(
                path, data, os.fstat(file.fileno()).st_size - file.tell()
            )
            _ = found.structures, found.series, found.frames_of_reference  # read here, where a damaged one is told
    except Exception as error:  # whatever pydicom raises
        raise UserError(f"{path}: is no whole structure set or segmentation ({reason(error)}); export it again") from error
    return found
