"""Where a NIfTI header says that its voxels lie and how they are stored, and where readers take it otherwise than it is meant."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.quaternions import quat2mat

from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.whole import chunks

_SAME_PLACE_MM = 0.01
_SAME_DIRECTION = 2e-3  # cosines: the qform of a grid that is turned by half a turn is off by up to 1.3e-3, in single precision

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}  # of nibabel's names


def unit_in_mm(header: nibabel.Nifti1Header) -> float:
    """Length of the unit in which a header counts; one that no standard knows is taken for mm, as readers do."""
    try:
        return _MM[header.get_xyzt_units()[0]]
    except KeyError:
        return 1.0


def affine_in_mm(image: nibabel.Nifti1Image) -> np.ndarray:
    """(4, 4), voxel index -> mm (RAS): the sform, else the qform, else what ITK makes of a header that has neither."""
    header = image.header
    affine = np.asarray(image.affine, np.float64)
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) * [*(float(size) for size in header.get_zooms()[:3]), 1.0]
    unit = unit_in_mm(header)
    return np.diag([unit, unit, unit, 1.0]) @ affine


def place_notes(image: nibabel.Nifti1Image, grid: Grid) -> Iterator[str]:
    """What readers may take otherwise of where a header says that the voxels lie, on the grid of `affine_in_mm`."""
    header = image.header
    has_sform, has_qform = int(header["sform_code"]) != 0, int(header["qform_code"]) != 0
    if not has_sform and not has_qform:
        yield (
            "its header does not say where it lies (neither qform nor sform); taken as ITK does, the first voxel at 0, axes "
            "towards left, back and head"
        )
    if not has_sform or not has_qform:
        return
    try:
        by_qform = _grid_by_qform(header, grid)
    except ValueError:  # numbers that nibabel takes for no quaternion
        yield "the qform in its header is no rotation; the sform is used"
        return
    same_origin = np.allclose(by_qform.origin, grid.origin, rtol=0, atol=_SAME_PLACE_MM)
    same_direction = np.allclose(by_qform.direction, grid.direction, rtol=0, atol=_SAME_DIRECTION)
    if not (same_origin and same_direction):
        corners = list(product(*((0, size - 1) for size in grid.shape)))
        apart = max(float(np.linalg.norm(by_qform.position(corner) - grid.position(corner))) for corner in corners)
        yield f"its header gives two places, qform and sform, up to {apart:.3g} mm apart; the sform is used"


def _grid_by_qform(header: nibabel.Nifti1Header, by_sform: Grid) -> Grid:
    """Where the voxels lie by the qform, their size aside."""
    affine = np.eye(4)
    affine[:3, :3] = quat2mat(header.get_qform_quaternion()) * by_sform.spacing
    affine[:3, 2] *= -1 if header["pixdim"][0] < 0 else 1
    affine[:3, 3] = [float(header[key]) * unit_in_mm(header) for key in ("qoffset_x", "qoffset_y", "qoffset_z")]
    return Grid.of_nifti(by_sform.shape, affine)


def stored_voxels(image: nibabel.Nifti1Image) -> ArrayProxy:
    """How the voxels of a file are stored: their type, shape, first byte and scaling. Its header no longer tells."""
    voxels = image.dataobj
    assert isinstance(voxels, ArrayProxy), "voxels of a file are read when they are asked for"
    return voxels


def first_byte(image: nibabel.Nifti1Image) -> int:
    """Where the voxels begin; writers that leave this out mean: behind the header."""
    return max(int(stored_voxels(image).offset), image.header.single_vox_offset)


def storage_notes(path: Path, image: nibabel.Nifti1Image) -> Iterator[str]:
    """What is put right in how a header says that voxels are stored."""
    if isinstance(image, nibabel.Nifti2Image):
        yield "NIfTI-2, which few readers know, read as NIfTI-1"
    if stored_voxels(image).offset < image.header.single_vox_offset:
        yield "its header does not say where the voxels begin, read from behind the header"
    raw = type(image.header)(next(chunks(path))[: image.header.sizeof_hdr], check=False)
    if (raw["pixdim"][1:4] < 0).any():  # which ITK takes for mirrored axes
        yield "its header gives negative voxel sizes, read as lengths, as NIfTI wants it"
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if (slope == 0 or not np.isfinite(slope)) and np.isfinite(inter) and inter != 0:  # which ITK adds
        yield f"its header scales by {slope:g} and adds {inter:g}, read as not scaled, as NIfTI wants it"


def storage_header(image: nibabel.Nifti1Image) -> nibabel.Nifti1Header:
    """A header for the same voxels in a file of their own, uncompressed.

    Raises:
        HeaderDataError: NIfTI-1 does not hold so many voxels along an axis.
    """
    header = nibabel.Nifti1Header.from_header(image.header, check=False)
    header["sizeof_hdr"] = header.sizeof_hdr  # nibabel leaves that of a NIfTI-2 header
    header.set_data_offset(header.single_vox_offset)
    header.set_slope_inter(stored_voxels(image).slope, stored_voxels(image).inter)
    return header
