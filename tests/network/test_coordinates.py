"""Coordinates: what further channels tell, and tokens of coordinates alone."""

import math

import pytest
import torch
from builders.network import TINY_VIT, K, make_network, patch_for

from nnunetv2_cdpd.network.coordinates import CoordinateTokens, coordinates_of_box

VISION = {**TINY_VIT, "source": "coordinates", "slice_axis": 0, "slice_step": 2, "intensity_windows": [[-1.0, 1.0]]}


def test_outer_borders_of_the_image_are_one_and_beyond_them_it_goes_on():
    coordinates = coordinates_of_box((0, 1, -1), (4, 3, 1), (4, 4, 2))
    assert coordinates.shape == (3, 4, 2, 2)
    assert coordinates[0, :, 0, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert coordinates[1, 0, :, 0].tolist() == [-0.25, 0.25]
    assert coordinates[2, 0, 0].tolist() == [-1.5, -0.5]


def test_coordinate_tokens_are_sines_and_cosines_at_the_middle_of_each_box():
    tokens = CoordinateTokens(num_maps=2, slice_axis=0, slice_step=2, slice_scale=4)
    coordinates = coordinates_of_box((0, 0, 0), (4, 8, 8), (4, 8, 16))
    first, second = tokens(coordinates[None])
    assert first is second and first.shape == (1, 24, 2, 2, 2)
    middles = [(-0.5, 0.5), (-0.5, 0.5), (-0.75, -0.25)]  # of the boxes, along each axis
    for axis, values in enumerate(middles):
        for cell, value in enumerate(values):
            at = first[0].select(1 + axis, cell)[:, 0, 0]
            for k in range(4):
                angle = math.pi / 2 * 2**k * value
                assert at[3 * k + axis] == pytest.approx(math.sin(angle), abs=1e-5)
                assert at[12 + 3 * k + axis] == pytest.approx(math.cos(angle), abs=1e-5)


def test_slice_axis_comes_first():
    tokens = CoordinateTokens(num_maps=1, slice_axis=2, slice_step=2, slice_scale=4)
    assert tokens(coordinates_of_box((0, 0, 0), (4, 8, 12), (4, 8, 12))[None])[0].shape == (1, 24, 6, 1, 2)


def test_network_of_coordinates_sees_where_a_patch_lies_and_has_no_vision_encoder():
    network = make_network(vision={**VISION, "fusion": "sum", "gate": "open"}).eval()
    x = patch_for()
    size = x.shape[2:]
    here, there = (coordinates_of_box(low, [a + b for a, b in zip(low, size)], (64, 96, 96)) for low in ((0, 0, 0), (48, 70, 60)))
    at = [torch.cat([x, where.expand(2, *where.shape)], 1) for where in (here, there)]
    assert network.slice_encoder is None and not [key for key in network.state_dict() if key.startswith("slice_encoder")]
    assert network(at[0]).shape == (2, K, *size)
    assert not torch.allclose(network(at[0]), network(at[1]), atol=1e-3)


def test_patch_that_does_not_tell_its_coordinates_is_refused():
    with pytest.raises(ValueError, match="which this patch does not tell: `cdpd predict` does, nnUNetv2_predict cannot"):
        make_network(vision=VISION)(patch_for())
