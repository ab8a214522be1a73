"""Labels on another grid: what a voxel of the image gets is derivable by hand."""

import numpy as np

from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.placement import resample_nearest


def grid(shape, spacing, first):
    """Along the axes; `first` is the lower face of the first voxel, mm."""
    spacing = np.array(spacing, float)
    return Grid(shape, spacing, np.array(first, float) + spacing / 2, np.eye(3))


def test_a_label_ends_at_the_faces_of_its_voxels():
    label = np.arange(1, 9, dtype=np.uint8).reshape(2, 2, 2)  # voxels of 4 mm from 0 to 8 mm
    image = grid((12, 8, 4), (1, 1, 2), (-2, 0, 0))  # from 2 mm before to 2 mm behind along x
    resampled = resample_nearest(label, grid((2, 2, 2), (4, 4, 4), (0, 0, 0)), image)
    expected = np.zeros((12, 8, 4), np.uint8)
    expected[2:10] = label.repeat(4, 0).repeat(4, 1).repeat(2, 2)
    assert resampled.dtype == np.uint8
    np.testing.assert_array_equal(resampled, expected)


def test_a_coarser_image_takes_the_label_at_the_centre_of_its_voxels():
    label = np.zeros((6, 2, 2), np.uint8)
    label[1::3] = 7  # the middle one of each three
    coarse = grid((4, 2, 2), (3, 1, 1), (-3, 0, 0))
    resampled = resample_nearest(label, grid((6, 2, 2), (1, 1, 1), (0, 0, 0)), coarse)
    assert [int(value) for value in resampled[:, 0, 0]] == [0, 7, 7, 0]
