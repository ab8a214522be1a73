"""Kinds: what a file is, by what is in it; its name, which a client chose, decides nothing.

A header that leads to another file (NRRD's `data file`, MetaImage's `ElementDataFile`) would make the reader open a file of
this machine, so it is refused.
"""

import re
from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import is_dicom

ZIP, DICOM = ".zip", ".dcm"
_HEAD = 1 << 16  # bytes in which a header must end
_TAKEN = (
    "send NIfTI, NRRD, MetaImage or GIPL with its voxels in the same file, or a DICOM series as a zip or its slices one by one"
)
_NIFTI = {b"n+1\0": 344, b"n+2\0": 4}  # the mark of a file that holds its voxels -> where it stands
_GIPL = (b"\xef\xff\xe9\xb0", b"\x2a\xe3\x89\xb8")
_META = b"ElementDataFile"


def kind_of(path: Path) -> str:
    """The ending that a file should have: of a volume, ".dcm" or ".zip".

    Raises:
        UserError: Nothing that is taken here.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return ZIP
    if head.startswith(b"\x1f\x8b"):
        return ".nii.gz"
    if any(head[at : at + 4] == mark for mark, at in _NIFTI.items()):
        return ".nii"
    if head.startswith(b"NRRD"):
        _check_nrrd(head)
        return ".nrrd"
    if head[252:256] in _GIPL:
        return ".gipl"
    if is_dicom(path):
        return DICOM
    if _META in head:
        _check_meta(head)
        return ".mha"
    raise UserError(f"the file is {'empty' if not head else 'of no format that is read here'}; {_TAKEN}")


def _check_nrrd(head: bytes) -> None:
    end = re.search(rb"\n\r?\n", head)
    if end is None:
        raise UserError(f"the header of the NRRD file does not end, so its voxels are elsewhere; {_TAKEN}")
    for line in re.split(rb"[\r\n]+", head[: end.end()]):
        if re.sub(rb"[^a-z]", b"", line.split(b":")[0].lower()) == b"datafile":
            raise UserError(f"the NRRD file is a header whose voxels are in another file; {_TAKEN}")


def _check_meta(head: bytes) -> None:
    before, _, after = head.partition(_META)
    starts_line = not before or before.endswith((b"\n", b"\r"))
    if not (starts_line and re.match(rb"[ \t]*[=:][ \t]*LOCAL[ \t]*\r?\n", after)):
        raise UserError(f"the MetaImage file is a header whose voxels are in another file; {_TAKEN}")
