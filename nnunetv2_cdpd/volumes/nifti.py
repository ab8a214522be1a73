"""NIfTI files: a header that is checked and understood, voxels that are whole, written as small as is exact.

What a header says is put right here, once: units that are not mm, a voxel size that its affine contradicts, two places or none,
axes that are not quite perpendicular, a fourth axis of one volume. `NiftiFile.notes` tells; `NiftiFile.unpack` makes a file that
every reader of nnU-Net reads the right way.
"""

import gzip
import io
import math
import os
import shutil
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.volumes.grid import AXES_ROUNDED, Grid, check_not_sheared
from nnunetv2_cdpd.volumes.nifti_header import (
    affine_in_mm,
    first_byte,
    place_notes,
    storage_header,
    storage_notes,
    stored_voxels,
    unit_in_mm,
)
from nnunetv2_cdpd.volumes.value_types import check_finite
from nnunetv2_cdpd.volumes.whole import TRAILING, check_end, check_file, chunks, damaged, told_as_damaged

# benchmarks/conversion.py: on CT, level 1 takes a quarter of the time of level 6 for 5 % more bytes.
COMPRESSION_LEVEL = 1
ONE_VOLUME_A_FILE = "write each volume into a file of its own (channels: CASE_0000, CASE_0001, ...)"
_LOOKED_AT = 1000  # chunks of a file without a header
_AXES_EXACT = 1e-4  # perpendicular axes stored in single precision
_SAME_SIZE = 1e-3  # share of a voxel size; more is no rounding
_FARTHEST_MM = 1e7  # of a voxel from the origin; ITK loses the axes beyond


def load_nifti(path: str | Path) -> nibabel.Nifti1Image:
    """nibabel's `load`, which is declared to return an image of any format; of these files it is NIfTI."""
    return cast(nibabel.Nifti1Image, nibabel.load(path))


def is_nifti(path: str | Path) -> bool:
    """Whether a file is called one."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


class NiftiFile:
    """Header of a NIfTI file.

    Args:
        path: .nii or .nii.gz.
        several: Also several volumes, along the fourth axis.

    Attributes:
        grid: Where the voxels lie, in mm, as `affine_in_mm` says it.
        num_volumes: Along the fourth axis.
        notes: What in the header is put right, for the user; empty: any reader reads the file as it is.

    Raises:
        UserError: No NIfTI file, not one volume of plain numbers, or no grid.
    """

    def __init__(self, path: Path, several: bool = False) -> None:
        check_file(path)
        self.path = path
        try:
            with told_as_damaged(path):
                self.image = load_nifti(path)
        except (ImageFileError, HeaderDataError) as error:
            for _ in islice(chunks(path), _LOOKED_AT):  # raises where the file is torn, which says more
                pass
            raise UserError(f"{path} cannot be read as NIfTI ({reason(error)}); get it again from where it came from") from error
        shape, dtype = tuple(self.image.shape), self.image.get_data_dtype()
        self.num_volumes = shape[3] if several and len(shape) > 3 else 1
        if len(shape) < 3 or any(size != 1 for size in shape[3 + several :]) or (not several and shape[3:4] not in ((), (1,))):
            way_out = ONE_VOLUME_A_FILE if len(shape) > 3 else "give a volume of three axes"
            raise UserError(f"{path} holds {' x '.join(map(str, shape))} values, not one volume; {way_out}")
        if min(shape) < 1:
            raise UserError(f"{path} holds no voxel ({' x '.join(map(str, shape))}); get it again from where it came from")
        if dtype.fields or not np.issubdtype(dtype, np.number) or np.issubdtype(dtype, np.complexfloating):
            what = "colours" if dtype.fields else f"{dtype} values"
            raise UserError(f"{path} holds {what}, not plain numbers; give a volume with one number per voxel")
        affine = affine_in_mm(self.image)
        if not (np.abs(affine) < _FARTHEST_MM).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            where = f"(affine {affine[:3].tolist()})"
            raise UserError(f"{path} has no usable geometry in its header {where}; get it again from where it came from")
        self.grid = Grid.of_nifti(shape[:3], affine)
        self.notes = tuple(self._notes())

    def _notes(self) -> list[str]:
        header, shape, unit = self.image.header, self.image.shape, unit_in_mm(self.image.header)
        notes = [*storage_notes(self.path, self.image), *place_notes(self.image, self.grid)]
        if len(shape) > 3 and self.num_volumes == 1:
            notes.append(f"{' x '.join(map(str, shape))} values in the header, one volume")
        if unit != 1:
            notes.append(f"its header counts in {header.get_xyzt_units()[0]}s, turned into mm")
        in_pixdim = np.abs(np.asarray(header["pixdim"][1:4], np.float64)) * unit
        if not np.allclose(in_pixdim, self.grid.spacing, rtol=_SAME_SIZE, atol=0):
            sizes = (" x ".join(f"{size:.4g}" for size in np.ravel(each)) for each in (in_pixdim, self.grid.spacing))
            notes.append("its header gives two voxel sizes, pixdim {} and sform {} mm; the sform is used".format(*sizes))
        off = self.grid.orthonormal()[1]
        if _AXES_EXACT < off <= AXES_ROUNDED:
            notes.append("its axes are not quite perpendicular, read as if they were")
        return notes

    def read(self) -> np.ndarray:
        """Voxel values (x, y, z) as stored, scaled where the header scales.

        Raises:
            UserError: The file is damaged, or holds values that are no numbers.
        """
        voxels = io.BytesIO()
        self._copy_voxels(voxels)
        how = stored_voxels(self.image)
        stored = np.frombuffer(voxels.getbuffer(), how.dtype).reshape(self.image.shape, order="F")
        return apply_read_scaling(stored, how.slope, how.inter).reshape(self.grid.shape, order="A")

    @property
    def num_bytes(self) -> int:
        """Of all voxels."""
        return math.prod(self.image.shape) * stored_voxels(self.image).dtype.itemsize

    def check(self) -> None:
        """Check that all voxels are there and are numbers: their count, the checksum of a compressed file, no nan.

        Raises:
            UserError: It ends early, its checksum is wrong, or a value is nan or infinite.
        """
        self._copy_voxels(None)

    def unpack(self, output: Path) -> None:
        """Write the same voxels as an uncompressed file with the header put right; checks on the way that they are whole.

        Raises:
            UserError: As `check_whole`, or the grid is sheared, or too large for NIfTI-1.
        """
        header = storage_header(self.image)
        if self.notes:
            grid, _ = self.mended_grid()
            volumes = (self.num_volumes,) if self.num_volumes > 1 else ()
            header.set_data_shape((*grid.shape, *volumes))
            _set_grid(header, grid)
        with output.open("wb") as file:
            file.write(header.binaryblock + bytes(4))  # which say that no extensions follow
            self._copy_voxels(file)

    def _copy_voxels(self, output: BinaryIO | None) -> None:
        """Read the file to its end, for its checksum, and copy the bytes of its voxels."""
        start, missing, dtype = first_byte(self.image), self.num_bytes, stored_voxels(self.image).dtype
        may_be_nan, split, after = not np.issubdtype(dtype, np.integer), b"", 0
        if self.path.suffix.lower() != ".gz" and output is None and not may_be_nan:  # its length is all that can be known
            missing -= self.path.stat().st_size - start
        else:
            for chunk in chunks(self.path):
                wanted = memoryview(chunk)[start:][:missing]
                after += max(0, len(chunk) - start) - len(wanted)
                start = max(0, start - len(chunk))
                missing -= len(wanted)
                with told_as_damaged(self.path):
                    check_end(after, TRAILING)
                if may_be_nan:  # found here, because ITK reads a 0 there
                    split += wanted
                    values = np.frombuffer(split, dtype, len(split) // dtype.itemsize)
                    check_finite(values, self.path)
                    split = split[values.nbytes :]
                if output is not None:
                    output.write(wanted)
        if missing > 0:
            raise damaged(self.path, f"{missing} bytes are missing")

    @property
    def ready(self) -> bool:
        """Whether the file is what nnU-Net wants as it is."""
        return self.path.name.endswith(".nii.gz") and not self.notes and self.grid.orthonormal()[1] <= _AXES_EXACT

    @property
    def stores_integers(self) -> bool:
        """Whether the values are stored as integers and read as they are stored."""
        how = stored_voxels(self.image)
        return np.issubdtype(how.dtype, np.integer) and (how.slope, how.inter) == (1, 0)

    def mended_grid(self) -> tuple[Grid, tuple[str, ...]]:
        """The grid with perpendicular axes, and the notes on what was put right.

        Raises:
            UserError: The grid is sheared.
        """
        check_not_sheared(self.grid, self.path)
        mended, off = self.grid.orthonormal()
        return (self.grid if off <= _AXES_EXACT else mended), self.notes


def _set_grid(header: nibabel.Nifti1Header, grid: Grid) -> None:
    header.set_qform(grid.nifti_affine, 1)
    header.set_sform(grid.nifti_affine, 1)
    header.set_xyzt_units("mm")


def link_or_copy(path: Path, output: Path, copy: bool) -> bool:
    """Make `output` the same file as `path`, by a hard link or a copy.

    Returns:
        Whether it is a link; the other file system may not allow one.
    """
    if not copy:
        with suppress(OSError):  # another file system: the caller tells that it was copied
            os.link(os.path.realpath(path), output)
            return True
    shutil.copyfile(path, output)
    return False


def write_nifti(path: Path, array: np.ndarray, grid: Grid, like: nibabel.Nifti1Header | None = None) -> None:
    """Write a volume (x, y, z) on a grid.

    Args:
        like: Header whose geometry is taken to the last bit, where there is one of the same grid.
    """
    image = nibabel.Nifti1Image(array, grid.nifti_affine, dtype=array.dtype)
    if like is None:
        _set_grid(image.header, grid)
    else:
        for key in _GEOMETRY:
            image.header[key] = like[key]
    image.header.set_xyzt_units("mm")
    # Neither name nor time in the file: the same case gives the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", COMPRESSION_LEVEL, raw, mtime=0) as file:
        image.to_stream(file)


_GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
