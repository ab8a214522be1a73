"""Images: files to an array and its place in the patient, and a label map back into a file, by SimpleITK."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import written_beside
from nnunetv2_cdpd.portable.nifti_bytes import check_place, check_voxels
from nnunetv2_cdpd.volumes.grid import Grid, check_not_sheared
from nnunetv2_cdpd.volumes.text_headers import check_text_header
from nnunetv2_cdpd.volumes.value_types import check_finite
from nnunetv2_cdpd.volumes.whole import check_file, check_whole, itk_reason

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NIFTI = (".nii.gz", ".nii")
_CANONICAL = "RAS"  # as SimpleITK calls axes that run to the right, the front and the head
_WIDE = 999  # nnU-Net's: by how many times a single slice is thicker than its pixels


@dataclass(frozen=True)
class OpenedImage:
    """array: float32 (C, Z, Y, X), also of a single slice. spacing: In mm, in the order of the array's axes.
    grid: Of the files. turned: The grid after reorientation, which the array lies on; None: it was not turned.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    grid: Grid
    turned: Grid | None


def read_image(files: Sequence[Path], channels: Sequence[str], reorient: bool) -> OpenedImage:
    """Read the channels of one image as nnU-Net's readers do.

    Args:
        channels: Their names, one per file, or all in one file with a fourth axis.
        reorient: Turn the image to the right-anterior-superior axes that are nearest.

    Raises:
        UserError: A file is missing, damaged or of another kind; the channels are not the model's or lie on different grids.
    """
    images = [_read(file) for file in files]
    grids = [Grid.of_image(image) for image in images]
    for file, grid in zip(files, grids):
        same = grid.shape == grids[0].shape and np.allclose(grid.spacing, grids[0].spacing, rtol=1e-5)
        if not same:
            raise UserError(f"{files[0]} and {file}: not on one grid (shape or voxel size); give the channels of one image")
    turned = None
    if reorient and len(grids[0].shape) == 3:
        images = [sitk.DICOMOrient(_volume(image, files[0]), _CANONICAL) for image in images]
        turned = Grid.of_image(images[0])
    arrays = [sitk.GetArrayFromImage(image) for image in images]
    dim = len(grids[0].shape)
    arrays = [array.reshape(-1, *((1,) * (3 - dim)), *array.shape[-dim:]) for array in arrays]
    count = sum(map(len, arrays))
    if count != len(channels):
        raise UserError(
            f"{files[0]}: {count} of the model's {len(channels)} channels; give a file of each, in this order: "
            f"{', '.join(channels)}"
        )
    spacing = (turned or grids[0]).spacing[::-1].tolist()
    if dim == 2:
        spacing = [max(spacing) * _WIDE, *spacing]
    array = np.concatenate(arrays).astype(np.float32)
    return OpenedImage(array, tuple(map(abs, spacing)), grids[0], turned)


def write_labels(file: Path, labels: np.ndarray, image: OpenedImage) -> None:
    """Write a label map (Z, Y, X) with the geometry of its image: beside, read back, then renamed.

    Raises:
        UserError: The file is there already, its format is not known, or the disk is full.
    """
    check_output(file)
    grid = image.turned or image.grid
    written = _with_grid(sitk.GetImageFromArray(labels if len(grid.shape) == 3 else labels[0]), grid)
    if image.turned is not None:
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.grid.direction.ravel().tolist())
        written = _with_grid(sitk.DICOMOrient(written, code), image.grid)  # to the last bit
    try:
        with written_beside(file) as beside:
            sitk.WriteImage(written, str(beside), file.name.lower().endswith(".gz"))
            again = sitk.GetArrayFromImage(sitk.ReadImage(str(beside)))
            if not np.array_equal(again, sitk.GetArrayViewFromImage(written)):
                raise UserError(f"{file}: cannot be written whole; is the disk full?")
    except RuntimeError as error:
        raise UserError(f"{file}: cannot be written whole; is the disk full? ({itk_reason(error)})") from error


def check_output(file: Path) -> None:
    """Raise UserError where no label map can or may be written."""
    if not file.name.lower().endswith((".nii.gz", ".nii", ".nrrd", ".mha")):
        raise UserError(f"{file}: not a format of label maps; name it .nii.gz, .nii, .nrrd or .mha")
    if file.exists() or file.is_symlink():
        raise UserError(f"{file}: is there already, and stays; remove it, or give another name")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file.parent}: no such folder; make it first")


def _read(file: Path) -> sitk.Image:
    """An image whose file holds all that its header promises, and numbers only."""
    if not file.name.lower().endswith(ENDINGS):
        hint = "; of a DICOM series make one first, as dcm2niix does" if file.is_dir() else ""
        raise UserError(f"{file}: not a volume of a format that is read here ({', '.join(ENDINGS)}){hint}")
    check_file(file)
    if file.name.lower().endswith(_NIFTI):
        check_voxels(file)
    elif (header := check_whole(file)) is not None:
        check_text_header(file, header)
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise UserError(f"{file}: is no image that can be read; is it damaged? ({itk_reason(error)})") from error
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() not in (2, 3, 4):
        raise UserError(f"{file}: no volume of one number per voxel (a colour image?)")
    if len((grid := Grid.of_image(image)).shape) == 3:
        check_not_sheared(grid, file)
        if file.name.lower().endswith(_NIFTI):
            check_place(file, grid)
    check_finite(sitk.GetArrayViewFromImage(image), file)
    return image


def _volume(image: sitk.Image, file: Path) -> sitk.Image:
    if image.GetDimension() != 3:
        raise UserError(f"{file}: {image.GetDimension()} axes; this model reads a file of three axes per channel")
    return image


def _with_grid(image: sitk.Image, grid: Grid) -> sitk.Image:
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    return image
