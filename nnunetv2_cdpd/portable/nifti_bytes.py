"""What SimpleITK does not tell of a NIfTI file: voxels that are missing or no numbers, read as zeros; a second place."""

import math
import struct
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.value_types import check_finite
from nnunetv2_cdpd.volumes.whole import chunks, damaged

_HEADER = 348  # bytes, of NIfTI-1
_FLOATS = {16: "f4", 64: "f8"}  # by NIfTI's number of a type
_UNITS_MM = {1: 1000.0, 3: 0.001}  # metre and micrometre; others mean mm
_SAME_MM, _SAME_SHARE = 0.01, 1e-3
_AS_READERS_MEAN_IT = "write it anew, or use cdpd predict, which reads it as nnU-Net's readers do"


def check_voxels(file: Path) -> None:
    """Read a .nii or .nii.gz to its end, against its checksum.

    Raises:
        UserError: It is no NIfTI-1 file, bytes are missing, values are nan or infinite, or SimpleITK takes the header otherwise
            than it is meant.
    """
    stream = chunks(file)
    content = next(stream, b"")
    order = _byte_order(content, file)
    if otherwise := _read_otherwise(content, order):
        raise UserError(f"{file}: {otherwise}; {_AS_READERS_MEAN_IT}")
    shape = _numbers(content, 40, f"{order}8h")
    datatype, bits = _numbers(content, 70, f"{order}2h")
    start = int(_numbers(content, 108, f"{order}f")[0])
    needed = math.prod(max(1, length) for length in shape[1 : 1 + max(0, shape[0])]) * bits // 8
    missing, rest, type_of_float = needed, b"", _FLOATS.get(datatype)
    while content:
        voxels = content[start:][:missing]
        start = max(0, start - len(content))
        missing -= len(voxels)
        if type_of_float is not None:
            rest += voxels
            values = np.frombuffer(rest, order + type_of_float, len(rest) // np.dtype(type_of_float).itemsize)
            check_finite(values, file)
            rest = rest[values.nbytes :]
        content = next(stream, b"")
    if missing > 0:
        raise damaged(file, f"{missing} bytes are missing")


def check_place(file: Path, grid: Grid) -> None:
    """Raise UserError where a header says two places, of which SimpleITK has taken the one that nnU-Net's readers do not mean.

    Args:
        grid: As SimpleITK reads it, of three axes.
    """
    content = next(chunks(file))
    order = _byte_order(content, file)
    if _numbers(content, 254, f"{order}h")[0] <= 0:  # no sform
        return
    unit = _UNITS_MM.get(content[123] & 7, 1.0)
    affine = np.vstack([np.reshape(_numbers(content, 280, f"{order}12f"), (3, 4)) * unit, [0, 0, 0, 1]])
    if not np.linalg.norm(affine[:3, :3], axis=0).all():
        raise UserError(f"{file}: the sform in its header is no grid; mend the header")
    what = same_place(grid, Grid.of_nifti(grid.shape, affine), spacing_mm=0, position_mm=_SAME_MM, relative=_SAME_SHARE)
    if what is not None:
        raise UserError(
            f"{file}: its header gives two places, qform and sform ({what}); mend the header, or use cdpd predict, which takes "
            "the sform"
        )


def _read_otherwise(content: bytes, order: str) -> str:
    """What SimpleITK would take otherwise of how a header says that voxels are stored; '' for a header that is plain."""
    if _numbers(content, 108, f"{order}f")[0] < _HEADER + 4:
        return "its header does not say where the voxels begin"
    slope, inter = _numbers(content, 112, f"{order}2f")
    scales = math.isfinite(slope) and slope != 0
    if scales != math.isfinite(inter) and (scales or inter != 0):  # nan for both, as nibabel writes, is plain
        return f"its header scales by {slope:g} and adds {inter:g}"
    if min(_numbers(content, 80, f"{order}3f")) < 0:
        return "its header gives negative voxel sizes"
    return ""


def _byte_order(content: bytes, file: Path) -> str:
    for order in "<>":
        if len(content) >= _HEADER and _numbers(content, 0, f"{order}i")[0] == _HEADER:
            return order
    raise UserError(f"{file}: is no NIfTI-1 file; is it damaged? NIfTI-2 is to be converted first")


def _numbers(content: bytes, place: int, kinds: str) -> tuple:
    return struct.unpack_from(kinds, content, place)
