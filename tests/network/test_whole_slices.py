"""Tokens of whole slices: those of the ViT on the whole image, and of a patch those at its coordinates, wherever it was moved."""

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from builders.model import give_effect
from builders.network import TINY_VIT, make_network, patch_for
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from nnunetv2_cdpd.network.coordinates import coordinates_of_box, with_coordinates
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.vision_settings import VisionSettings
from nnunetv2_cdpd.network.whole_slices import tokens_at, volume_tokens
from nnunetv2_cdpd.training.label_resampling import LabelMapSpatialTransform

TINY = {"embed_dim": 24, "depth": 4, "num_heads": 2}
VISION = {**TINY_VIT, "slice_axis": 0, "slice_step": 2, "intensity_windows": [[-1.0, 1.0]], "fusion": "sum", "gate": "open"}
SHAPE = (24, 32, 40)  # of an image, with one token for 2 x 4 x 4 voxels


def make_encoder(**changes):
    torch.manual_seed(0)
    kwargs = {"num_maps": 2, "intensity_windows": [[-1.0, 3.0]], "model_kwargs": TINY, **changes}
    encoder = SliceEncoder("vit_tiny_patch16_224", **kwargs)
    encoder.bfloat16_on_cpu = False
    return encoder


def own_coordinates(slice_axis=0, shape=SHAPE, per_token=(2, 4, 4)):
    """Tokens (1, 3, S, H, W) that are the coordinates of the middle of their box: they grow evenly along each axis."""
    middles = functional.avg_pool3d(coordinates_of_box((0, 0, 0), shape, shape), per_token)
    return middles.movedim(1 + slice_axis, 1)[None]


@pytest.mark.parametrize("changes", [{}, {"slice_axis": 2, "slice_step": 3}, {"channels": "neighbours"}, {"slice_scale": 8}])
def test_tokens_of_a_volume_are_those_of_all_its_slices(changes):
    encoder, image = make_encoder(**changes), torch.randn(1, 19, 33, 20)
    tokens = volume_tokens(encoder, image)
    expected = torch.stack(encoder(image[None]))[:, 0]
    assert tokens.shape == expected.shape and tokens.dtype == torch.half
    assert list(tokens.shape[2:]) == encoder.grid_size(image.shape[1:])
    torch.testing.assert_close(tokens.float(), expected, atol=2e-3, rtol=2e-3)


def test_a_volume_stays_on_its_device_and_some_slices_at_a_time_go_to_the_encoder():
    """On a GPU that PyTorch only pretends: what is computed is unknown there, and devices that do not go together are refused."""
    encoder, expected = make_encoder(), volume_tokens(make_encoder(), torch.randn(1, 19, 33, 20))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        encoder._apply(lambda tensor: mode.from_tensor(tensor.detach()).to("cuda"))
        tokens = volume_tokens(encoder, torch.zeros(1, 19, 33, 20))
        assert tokens.device.type == encoder.window_low.device.type == "cuda" and tokens.shape == expected.shape


def test_a_patch_that_lies_on_the_tokens_gets_them_as_they_are():
    tokens = torch.randn(2, 5, 12, 8, 10)
    coordinates = coordinates_of_box((4, 8, 0), (12, 24, 20), SHAPE)
    found = tokens_at(tokens, coordinates, (4, 4, 5), slice_axis=0)
    torch.testing.assert_close(found, tokens[:, :, 2:6, 2:6, 0:5], atol=1e-4, rtol=1e-4)
    read = tokens_at(tokens.numpy(), coordinates, (4, 4, 5), slice_axis=0)
    torch.testing.assert_close(read, found)


def test_of_2d_patches_slices_are_along_the_first_axis_whatever_plans_say():
    """There the slice axis and step of plans mean nothing, of which a network of patches takes no notice either."""
    image, grids = torch.randn(3, 6, 48, 64), []
    for other in ({}, {"slice_axis": 1, "slice_step": 2}):
        network = make_network("2d", vision={**VISION, "intensity_windows": [[-1.0, 1.0]] * 3, "whole_slices": True, **other})
        network.show(image)
        grids.append(network.volume.tokens)
    assert grids[0].shape[2] == 6
    torch.testing.assert_close(grids[1], grids[0])


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_slices_may_be_cut_along_any_axis(slice_axis):
    box = ((5, 9, 11), (13, 21, 27))
    size = [4, 3, 4]
    size.insert(0, size.pop(slice_axis))
    per_token = (2, 4, 4)
    found = tokens_at(own_coordinates(slice_axis, per_token=per_token), coordinates_of_box(*box, SHAPE), size, slice_axis)
    expected = functional.avg_pool3d(coordinates_of_box(*box, SHAPE), per_token).movedim(1 + slice_axis, 1)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_a_rotated_and_zoomed_patch_gets_the_tokens_where_it_is(seed):
    np.random.seed(seed)
    options = {"patch_center_dist_from_border": 0, "random_crop": False, "border_mode_seg": "constant", "padding_value_seg": -1}
    transform = LabelMapSpatialTransform(
        SpatialTransform((8, 12, 12), p_rotation=1, rotation=(-0.4, 0.4), p_scaling=1, scaling=(0.8, 1.2), **options)
    )
    coordinates = coordinates_of_box((4, 6, 8), (20, 26, 32), SHAPE)
    moved = transform(image=torch.zeros(1, *coordinates.shape[1:]), regression_target=coordinates)["regression_target"]
    found = tokens_at(own_coordinates(), moved, (4, 3, 3), slice_axis=0)[0]
    expected = functional.avg_pool3d(moved, (2, 4, 4))  # of a field that grows evenly: its value in the middle of each box
    assert moved.abs().max() < 1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_quarter_turn_gets_turned_tokens():
    tokens = torch.randn(1, 3, 12, 8, 8)
    coordinates = coordinates_of_box((0, 0, 0), (24, 32, 32), (24, 32, 32))
    turned = torch.rot90(coordinates, 1, (2, 3))
    found = tokens_at(tokens, turned, (12, 8, 8), slice_axis=0)
    torch.testing.assert_close(found, torch.rot90(tokens, 1, (3, 4)), atol=1e-4, rtol=1e-4)


def test_beyond_the_image_tokens_are_those_of_its_border():
    tokens = torch.arange(12.0).view(1, 1, 12, 1, 1).expand(1, 1, 12, 8, 10)
    found = tokens_at(tokens, coordinates_of_box((-6, 0, 0), (4, 32, 40), SHAPE), (5, 8, 10), slice_axis=0)
    assert found[0, 0, :, 0, 0].tolist() == pytest.approx([0, 0, 0, 0, 1], abs=1e-5)


def test_a_slice_of_two_dimensions_gets_its_own_tokens():
    tokens = torch.randn(2, 5, 24, 8, 10)
    coordinates = coordinates_of_box((7, 0, 0), (8, *SHAPE[1:]), SHAPE)[:, 0]
    torch.testing.assert_close(tokens_at(tokens, coordinates, (8, 10), 0), tokens[:, :, 7], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("configuration", ["3d", "2d"])
def test_patch_that_is_the_whole_image_is_seen_as_by_a_network_of_patches(configuration):
    x = patch_for(configuration, batch=1)
    vision = {**VISION, "slice_step": 2 if x.ndim == 5 else 1, "intensity_windows": [[-1.0, 1.0]] * x.shape[1]}
    whole = give_effect(make_network(configuration, vision={**vision, "whole_slices": True})).eval()
    plain = make_network(configuration, vision=vision).eval()
    plain.load_state_dict(whole.state_dict())  # the same keys
    for network in (whole, plain):
        network.slice_encoder.bfloat16_on_cpu = False
    image = x[0] if x.ndim == 5 else x[0][:, None]
    whole.show(image)
    located = with_coordinates(image, [slice(0, n) for n in image.shape[1:]])
    located = located[None] if x.ndim == 5 else located[None, :, 0]
    torch.testing.assert_close(whole(located), plain(x), atol=2e-2, rtol=2e-2)
    assert not torch.allclose(whole(located), plain(x + 0.5), atol=2e-2)


def test_tokens_that_are_given_are_those_that_the_coordinates_would_give():
    network, x = give_effect(make_network(vision={**VISION, "whole_slices": True})).eval(), patch_for(batch=1)
    image = torch.randn(1, 24, 40, 48, generator=torch.Generator().manual_seed(5))
    network.show(image)
    coordinates = coordinates_of_box((4, 8, 10), (20, 32, 42), image.shape[1:])
    expected = network(torch.cat([x, coordinates[None]], 1))
    tokens = tokens_at(network.volume.tokens, coordinates, network.slice_encoder.grid_size(x.shape[2:]), 0)[None]
    torch.testing.assert_close(network(x, tokens=tokens), expected)


def test_patch_without_its_coordinates_or_its_volume_is_refused():
    network, x = make_network(vision={**VISION, "whole_slices": True}), patch_for(batch=1)
    located = torch.cat([x, coordinates_of_box((0, 0, 0), x.shape[2:], x.shape[2:])[None]], 1)
    told = "this patch does not tell: `cdpd predict` does, nnUNetv2_predict cannot"
    with pytest.raises(ValueError, match=told):
        network(located)
    network.show(x[0])
    with pytest.raises(ValueError, match=told):
        network(x)


@pytest.mark.parametrize("other", [{"adapters": 2}, {"source": "coordinates"}])
def test_settings_that_exclude_whole_slices_are_refused(other):
    with pytest.raises(ValueError, match="`whole_slices`"):
        VisionSettings(whole_slices=True, **other)
