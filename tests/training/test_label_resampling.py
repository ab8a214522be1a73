"""resample_label_map: the labels of batchgeneratorsv2's resampling, whatever their number, in 2D and 3D, inside and outside."""

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

from nnunetv2_cdpd.training.label_resampling import LabelMapSpatialTransform, resample_label_map

SHAPE, PATCH = (16, 21, 26), (9, 14, 11)
OPTIONS = {
    "patch_center_dist_from_border": 0,
    "random_crop": False,
    "p_rotation": 1,
    "rotation": (-0.5, 0.5),
    "p_scaling": 1,
    "p_synchronize_scaling_across_axes": 1,
    "border_mode_seg": "constant",
    "padding_value_seg": -1,
}


def boxes(shape, num_labels, seed):
    """Label maps of two channels: overlapping boxes."""
    generator = np.random.default_rng(seed)
    label_map = np.zeros((2, *shape), np.int16)
    for channel in label_map:
        for label in range(1, num_labels + 1):
            corner = [generator.integers(0, length - 2) for length in shape]
            size = [generator.integers(2, length // 2) for length in shape]
            channel[tuple(slice(start, start + part) for start, part in zip(corner, size))] = label
    return torch.from_numpy(label_map)


@pytest.mark.parametrize("scaling", [(0.6, 0.9), (1.2, 1.8)])  # inside of the map, and reaching far outside
@pytest.mark.parametrize("shape, patch", [(SHAPE, PATCH), (SHAPE[1:], PATCH[1:])])
@pytest.mark.parametrize("num_labels", [1, 2, 12])
def test_labels_are_those_of_batchgenerators(shape, patch, scaling, num_labels):
    host = SpatialTransform(patch, scaling=scaling, **OPTIONS)
    ours = LabelMapSpatialTransform(SpatialTransform(patch, scaling=scaling, **OPTIONS))
    different = total = 0
    for seed in range(5):
        label_map = boxes(shape, num_labels, seed)
        data = {"image": torch.zeros(1, *shape), "segmentation": label_map}
        np.random.seed(seed)
        expected = host(**data)["segmentation"]
        np.random.seed(seed)
        result = ours(**data)["segmentation"]
        assert result.shape == expected.shape and result.dtype == expected.dtype
        different += (result != expected).sum().item()
        total += expected.numel()
    assert different / total < 2e-3  # where two labels score the same within float16
    assert (expected == -1).any() == (result == -1).any()


def test_without_rotation_and_zoom_the_map_is_cropped():
    label_map = boxes(SHAPE, 5, seed=0)
    options = {**OPTIONS, "p_rotation": 0, "p_scaling": 0}
    result = LabelMapSpatialTransform(SpatialTransform(PATCH, **options))(image=torch.zeros(1, *SHAPE), segmentation=label_map)[
        "segmentation"
    ]
    expected = SpatialTransform(PATCH, **options)(image=torch.zeros(1, *SHAPE), segmentation=label_map)["segmentation"]
    assert torch.equal(result, expected)


def test_hand_computed_votes():
    """One row of three voxels with labels 7, 8, 9; outside is 0."""
    label_map = torch.tensor([[[7, 8, 9]]], dtype=torch.uint8)
    # voxel centres lie at x = -2/3, 0, 2/3 and y = 0; the last two points lie more than half a voxel outside
    x = torch.tensor([-2 / 3, -0.4, -0.3, 0, 0.3, 0.4, 0.9, 1.1, -1.1])
    grid = torch.stack([x, torch.zeros_like(x)], 1)[None]
    assert resample_label_map(label_map, grid, 0)[0, 0].tolist() == [7, 7, 8, 8, 8, 9, 9, 0, 0]


def test_several_voxels_of_one_label_outvote_the_nearest_of_another():
    label_map = torch.tensor([[[1, 2], [2, 2]]])
    # voxel centres lie at +-0.5; the point lies nearest to the corner of label 1, with weights 0.36, 0.24, 0.24, 0.16
    grid = torch.full((1, 1, 2), -0.1)
    assert resample_label_map(label_map, grid, 0).item() == 2


def test_other_ways_to_resample_label_maps_are_refused():
    with pytest.raises(NotImplementedError, match="mode_seg='bilinear'"):
        LabelMapSpatialTransform(SpatialTransform(PATCH, 0, False, mode_seg="nearest", border_mode_seg="constant"))
