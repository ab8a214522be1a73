"""Patches that tell their coordinates: the box they were cut from, and whatever moved the image since."""

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform

from nnunetv2_cdpd.network.coordinates import coordinates_of_box, with_coordinates
from nnunetv2_cdpd.training.coordinates import CoordinateTransforms
from nnunetv2_cdpd.training.label_resampling import LabelMapSpatialTransform, evenly_growing_at

SHAPE, BOX = (40, 30, 20), ((10, 6, 4), (24, 20, 16))  # an image, and a box of 14 x 14 x 12 voxels in it
PATCH = (6, 6, 6)


def moved(transform, box=BOX, shape=SHAPE):
    """Image and coordinates of a patch, of an image whose three channels are the coordinates themselves."""
    located = CoordinateTransforms(ComposeTransforms([transform] if not isinstance(transform, list) else transform))
    located.box = (*box, shape)
    image = coordinates_of_box(*box, shape)
    sample = located(image=image.clone(), segmentation=torch.zeros(1, *image.shape[1:], dtype=torch.int16))
    assert sample["image"].shape[0] == 6 and "regression_target" not in sample
    return sample["image"][:3], sample["image"][3:]


def spatial(patch=PATCH, **changes):
    options = {"patch_center_dist_from_border": 0, "random_crop": False, "border_mode_seg": "constant", "padding_value_seg": -1}
    return LabelMapSpatialTransform(SpatialTransform(patch, **options, **changes))


def middle_of_patch(box=BOX, shape=SHAPE):
    return torch.tensor([(low + high) / length - 1 for low, high, length in zip(*box, shape)])


def test_a_crop_has_the_coordinates_of_its_middle():
    image, coordinates = moved(spatial())
    assert torch.equal(image, coordinates)
    torch.testing.assert_close(coordinates, coordinates_of_box((14, 10, 7), (20, 16, 13), SHAPE))


def test_a_quarter_turn_exchanges_two_axes():
    image, coordinates = moved(spatial(p_rotation=1, rotation=lambda image, dim: np.pi / 2 if dim == 0 else 0))
    torch.testing.assert_close(image, coordinates, atol=1e-5, rtol=0)
    unturned = coordinates_of_box((14, 10, 7), (20, 16, 13), SHAPE)
    torch.testing.assert_close(coordinates[0], unturned[0], atol=1e-5, rtol=0)
    step = 2 / 30  # of the second axis, which now grows or falls along the third one
    change = coordinates[1, :, :, 1:] - coordinates[1, :, :, :-1]
    torch.testing.assert_close(change.abs(), torch.full_like(change, step), atol=1e-5, rtol=0)
    torch.testing.assert_close(coordinates[1].mean(), middle_of_patch()[1], atol=1e-5, rtol=0)


def test_a_zoom_makes_steps_larger():
    _, coordinates = moved(spatial(p_scaling=1, scaling=lambda image, dim: 1.5, p_synchronize_scaling_across_axes=1))
    for axis, length in enumerate(SHAPE):
        along = coordinates[axis].movedim(axis, 0)
        torch.testing.assert_close(along[1:] - along[:-1], torch.full_like(along[1:], 1.5 * 2 / length), atol=1e-5, rtol=0)
    torch.testing.assert_close(coordinates.flatten(1).mean(1), middle_of_patch(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_any_rotation_and_zoom_moves_coordinates_and_image_alike(seed):
    np.random.seed(seed)
    image, coordinates = moved(spatial(p_rotation=1, rotation=(-0.5, 0.5), p_scaling=1, scaling=(0.7, 1.4)))
    torch.testing.assert_close(image, coordinates, atol=1e-4, rtol=0)


def test_beyond_the_cut_box_the_coordinates_go_on():
    """Where the image is padding already, tokens are still those of the coordinates."""
    doubled = spatial((14, 14, 12), p_scaling=1, scaling=lambda image, dim: 2.0, p_synchronize_scaling_across_axes=1)
    _, coordinates = moved(doubled)
    # 13 voxels before the middle, cut were 7
    assert coordinates[0, 0, 0, 0] == pytest.approx(2 * (17 - 2 * 6.5) / 40 - 1, abs=1e-5)
    along = coordinates[0, :, 0, 0]
    torch.testing.assert_close(along[1:] - along[:-1], torch.full((13,), 2 * 2 / 40), atol=1e-5, rtol=0)


def test_mirroring_and_slices_that_are_rotated_one_by_one():
    steps = [Convert3DTo2DTransform(), spatial(PATCH[1:], p_rotation=1, rotation=(0.3, 0.3)), Convert2DTo3DTransform()]
    image, coordinates = moved([*steps, MirrorTransform((0, 1, 2))])
    torch.testing.assert_close(image, coordinates, atol=1e-4, rtol=0)
    assert image.shape == (3, 14, 6, 6)


def test_patch_of_two_dimensions_knows_its_slice():
    located = CoordinateTransforms(ComposeTransforms([MirrorTransform(())]))
    located.box = (7, 0, 0), (8, 4, 4), (10, 4, 4)
    sample = located(image=torch.zeros(1, 4, 4), segmentation=torch.zeros(1, 4, 4))
    assert sample["image"].shape == (4, 4, 4)
    assert sample["image"][1].unique().tolist() == [0.5]  # (2 * 7 + 1) / 10 - 1
    assert sample["image"][3, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_evenly_growing_field_is_known_everywhere():
    field = torch.arange(4.0).view(1, 4, 1) * 10 + torch.arange(3.0) + 5
    grid = torch.tensor([[[-1.0, -1.0], [0.0, 0.0], [3.0, 1.0]]])  # as grid_sample's: the last axis first
    assert evenly_growing_at(field, grid).flatten().tolist() == [5 - 5 - 0.5, 5 + 15 + 1, 5 + 35 + 5.5]


def test_coordinates_of_a_padded_image_are_those_in_the_image():
    located = with_coordinates(torch.zeros(1, 4, 2, 2), [slice(1, 3), slice(0, 2), slice(0, 2)])
    assert located.shape == (4, 4, 2, 2)
    assert located[1, :, 0, 0].tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert located[2, 0, :, 0].tolist() == [-0.5, 0.5]
