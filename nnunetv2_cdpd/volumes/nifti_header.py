"""How the voxels of a NIfTI file are stored, and where readers take its header otherwise than it is meant."""

from collections.abc import Iterator
from pathlib import Path

import nibabel
from nibabel.arrayproxy import ArrayProxy

from nnunetv2_cdpd.volumes.whole import chunks

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}  # of nibabel's names


def unit_in_mm(header: nibabel.Nifti1Header) -> float:
    """Length of the unit in which a header counts; one that no standard knows is taken for mm, as readers do."""
    try:
        return _MM[header.get_xyzt_units()[0]]
    except KeyError:
        return 1.0


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
    if raw["scl_slope"] == 0 and raw["scl_inter"] != 0:
        yield f"its header scales by 0 and adds {raw['scl_inter']:g}, read as not scaled, as NIfTI wants it"


def storage_header(image: nibabel.Nifti1Image) -> nibabel.Nifti1Header:
    """A header for the same voxels in a file of their own, uncompressed.

    Raises:
        HeaderDataError: NIfTI-1 does not hold so many voxels along an axis.
    """
    header = nibabel.Nifti1Header.from_header(image.header, check=False)
    header.set_data_offset(header.single_vox_offset)
    header.set_slope_inter(stored_voxels(image).slope, stored_voxels(image).inter)
    return header
