"""Headers: where the voxels of a file lie, read without its voxels where the format allows it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.nifti import load_nifti


def grid_of_file(path: str | Path, reader: type[BaseReaderWriter]) -> Grid:
    """The grid of a file as this reader of nnU-Net sees it; of a format without geometry only the shape counts.

    Raises:
        RuntimeError, OSError: The file cannot be read.
    """
    if issubclass(reader, SimpleITKIO):
        header = sitk.ImageFileReader()
        header.SetFileName(str(path))
        header.ReadImageInformation()
        return Grid.of_image(header)
    if issubclass(reader, (NibabelIO, NibabelIOWithReorient)):
        image = load_nifti(path)
        zooms = np.asarray(image.header.get_zooms()[:3], np.float64)  # what nnU-Net compares
        return replace(Grid.of_nifti(image.shape[:3], np.asarray(image.affine, np.float64)), spacing=zooms)
    shape = reader().read_images((str(path),))[0].shape[:0:-1]
    return Grid(shape, np.ones(len(shape)), np.zeros(len(shape)), np.eye(len(shape)))
