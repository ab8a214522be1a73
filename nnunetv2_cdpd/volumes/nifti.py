"""NIfTI files: checked as a whole, handed on bit-identical where nothing needs changing, else written as small as is exact."""

import gzip
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid

# benchmarks/conversion.py: on CT, level 1 takes a quarter of the time of level 6 for 5 % more bytes.
COMPRESSION_LEVEL = 1
_AXES_EXACT = 1e-4  # perpendicular axes stored in single precision
_AXES_ROUNDED = 1e-2  # cosines; more is a sheared grid, not rounding
_CHUNK = 1 << 22


def load_nifti(path: str | Path) -> nibabel.Nifti1Image:
    """nibabel's `load`, which is declared to return an image of any format; of these files it is NIfTI."""
    return cast(nibabel.Nifti1Image, nibabel.load(path))


class NiftiFile:
    """Header of a NIfTI file.

    Args:
        path: .nii or .nii.gz.

    Raises:
        UserError: No NIfTI file, not one volume of plain numbers, or no grid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.image = load_nifti(path)
        except (ImageFileError, OSError, EOFError, zlib.error, ValueError) as error:
            raise UserError(f"{path} cannot be read as NIfTI ({' '.join(str(error).split())}); download it again") from error
        shape = tuple(self.image.shape)
        if len(shape) < 3 or any(size != 1 for size in shape[3:]):
            raise UserError(f"{path} holds {' x '.join(map(str, shape))} values, not one volume")
        if not np.issubdtype(self.image.get_data_dtype(), np.number) or self.image.get_data_dtype().fields:
            raise UserError(f"{path} holds {self.image.get_data_dtype()} values, not plain numbers")
        affine = np.asarray(self.image.affine, np.float64)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise UserError(f"{path} has no usable geometry in its header (affine {affine[:3].tolist()})")
        self.grid = Grid.of_nifti(shape[:3], affine)

    def read(self) -> np.ndarray:
        """Voxel values (x, y, z) as stored, scaled where the header scales.

        Raises:
            UserError: The file is damaged.
        """
        try:
            return np.asanyarray(self.image.dataobj).reshape(self.grid.shape, order="A")
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise UserError(f"{self.path} is damaged ({' '.join(str(error).split())}); download it again") from error

    def check_whole(self) -> None:
        """Read the compressed file to its end in small pieces, so that a torn download is found.

        Raises:
            UserError: It ends early or its checksum is wrong.
        """
        header, voxels = self.image.header, self.image.dataobj
        assert isinstance(voxels, ArrayProxy), "voxels of a file are read when they are asked for"
        missing = int(voxels.offset) + int(np.prod(self.image.shape)) * header.get_data_dtype().itemsize
        try:
            with gzip.open(self.path) as file:
                while chunk := file.read(_CHUNK):
                    missing -= len(chunk)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{self.path} is damaged ({' '.join(str(error).split())}); download it again") from error
        if missing > 0:
            raise UserError(f"{self.path} is damaged ({missing} bytes are missing); download it again")

    @property
    def ready(self) -> bool:
        """Whether the file is what nnU-Net wants as it is."""
        _, off = self.grid.orthonormal()
        return self.path.name.endswith(".nii.gz") and len(self.image.shape) == 3 and off <= _AXES_EXACT

    @property
    def stores_integers(self) -> bool:
        """Whether the values are stored as integers and read as they are stored."""
        slope, inter = self.image.header.get_slope_inter()
        return np.issubdtype(self.image.get_data_dtype(), np.integer) and slope in (None, 1) and inter in (None, 0)

    def mended_grid(self) -> tuple[Grid, str | None]:
        """The grid with perpendicular axes, and a note if they had to be made so.

        Raises:
            UserError: The grid is sheared.
        """
        mended, off = self.grid.orthonormal()
        if off > _AXES_ROUNDED:
            raise UserError(f"{self.path} has a sheared grid (a tilted gantry?), which nnU-Net cannot use; resample it first")
        if off <= _AXES_EXACT:
            return self.grid, None
        return mended, "axes in the header were not quite perpendicular, made so"


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
        image.set_qform(grid.nifti_affine, 1)
        image.set_sform(grid.nifti_affine, 1)
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
