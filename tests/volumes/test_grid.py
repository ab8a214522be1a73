"""Grid: the same places as SimpleITK's, whatever file it comes from, and what tells two grids apart."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from scipy.spatial.transform import Rotation

from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.reading import CheckedReader


def oblique(*axes):
    """An image with turned axes in this order; every axis of another length and spacing."""
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8))
    image.SetSpacing((0.7, 1.3, 5.1))
    image.SetOrigin((-123.4, 56.7, -890.1))
    turn = Rotation.from_rotvec([0.1, -0.2, 0.15]).as_matrix() @ np.diag([1, -1, -1])
    image.SetDirection(turn[:, axes].ravel())
    return image


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_positions_are_those_of_simpleitk_to_the_last_bit(axes):
    image = oblique(*axes)
    grid = Grid.of_image(image)
    for index in np.random.default_rng(0).uniform(-10, 500, (50, 3)).tolist():
        assert tuple(grid.position(index)) == image.TransformContinuousIndexToPhysicalPoint(index)


def test_positions_of_a_slice(tmp_path):
    image = oblique(0, 1, 2)[:, :, 0]
    assert tuple(Grid.of_image(image).position([2.5, 1])) == image.TransformContinuousIndexToPhysicalPoint([2.5, 1])
    assert Grid.of_image(image).axes is None


def test_axes_of_the_body_are_told_by_letters_and_by_number():
    grid = Grid.of_image(oblique(2, 0, 1))
    assert grid.axes == "ILA" and grid.body_axes == (1, 2, 0)


def test_nifti_and_simpleitk_headers_give_the_same_grid(tmp_path):
    image = oblique(2, 0, 1)
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    read = nibabel.load(tmp_path / "image.nii.gz")
    for other in (Grid.of_image(image), Grid.of_nifti(read.shape, read.affine)):
        assert same_place(Grid.of_image(image), other, spacing_mm=1e-6, position_mm=1e-3) is None
    np.testing.assert_allclose(Grid.of_image(image).nifti_affine, read.affine, atol=1e-3)


@pytest.mark.parametrize("name", ["SimpleITKIO", "NibabelIO"])
def test_properties_of_nnunets_readers_give_the_grid(tmp_path, name):
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    sitk.WriteImage(oblique(2, 0, 1), str(tmp_path / "image.nii.gz"))
    array, properties = CheckedReader(recursive_find_reader_writer_by_name(name)()).read_seg(tmp_path / "image.nii.gz")
    grid = Grid.of_array(array.shape[1:], properties)
    assert same_place(Grid.of_image(oblique(2, 0, 1)), grid, spacing_mm=1e-6, position_mm=1e-3) is None


def test_a_fourth_axis_is_none_of_the_grid(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([oblique(2, 0, 1)] * 2), str(tmp_path / "image.mha"))
    array, properties = CheckedReader(SimpleITKIO()).read_seg(tmp_path / "image.mha")
    grid = Grid.of_array(array.shape[1:], properties)
    assert len(array) == 2 and same_place(Grid.of_image(oblique(2, 0, 1)), grid, spacing_mm=1e-6, position_mm=1e-3) is None


def test_the_first_difference_is_named():
    grid = Grid.of_image(oblique(0, 1, 2))
    limits = {"spacing_mm": 1e-3, "position_mm": 1e-2}
    for other, what in [
        (replace(grid, shape=(6, 5, 5), origin=grid.origin + 1), "shape"),
        (replace(grid, shape=(6, 5)), "shape"),
        (replace(grid, spacing=grid.spacing + [0, 0.002, 0]), "spacing"),
        (replace(grid, origin=grid.origin + [0, 0, 0.02]), "origin"),
        (replace(grid, direction=grid.direction[:, ::-1]), "direction"),
        (replace(grid, origin=grid.origin + np.nan), "origin"),
        (replace(grid, spacing=grid.spacing + 5e-4, origin=grid.origin - 5e-3), None),
    ]:
        assert same_place(grid, other, **limits) == what
    far = replace(grid, origin=grid.origin * 1.00002)
    assert same_place(grid, far, **limits) == "origin" and same_place(grid, far, **limits, relative=1e-4) is None
