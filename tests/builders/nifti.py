"""NIfTI files of a small volume with every axis of another length, and ways to spoil the bytes of a file."""

import gzip

import nibabel
import numpy as np
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

READERS = [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient]
SPACING = (0.8, 1.1, 5.0)  # x, y, z
SHAPE = (14, 12, 10)


def write(path, array, affine=None, **header):
    image = nibabel.Nifti1Image(array, np.diag([*SPACING, 1.0]) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def spoil(path, change):
    """Change the bytes of the header of a .nii.gz."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
