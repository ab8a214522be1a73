"""Position embeddings of the image's slice: a patch gets those at its place, wherever augmentation has moved it."""

import copy

import pytest
import torch
from builders.network import TINY_VIT, make_network, patch_for
from torch.nn import functional

from nnunetv2_cdpd.inference.network import SliceTokens
from nnunetv2_cdpd.network.coordinates import coordinates_of_box
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.vision_settings import VisionSettings

GRID = 4  # tokens along each axis that the ViT was trained with
SHAPE = (8, 64, 96)  # of an image


def make_encoder(**changes):
    torch.manual_seed(0)
    vit = {"embed_dim": 24, "depth": 4, "num_heads": 2, "img_size": 16 * GRID}
    encoder = SliceEncoder("vit_tiny_patch16_224", **{"num_maps": 2, "model_kwargs": vit, "positions_in_slice": True, **changes})
    encoder.bfloat16_on_cpu = False
    return encoder


def with_gradient(encoder):
    """Position embeddings whose first two values are their coordinates along the axes of the slice."""
    middles = (2 * torch.arange(GRID) + 1) / GRID - 1
    embeddings = torch.zeros_like(encoder.vit.pos_embed)
    embeddings[0, 1:, :2] = torch.cartesian_prod(middles, middles)
    encoder.vit.pos_embed.copy_(embeddings)
    return encoder


def positions_of(encoder, x):
    """(B * S, h, w, E): what the ViT adds to the tokens of its image."""
    seen = {}
    hooks = [
        encoder.vit.patch_embed.register_forward_hook(lambda part, inputs, output: seen.update(image=output), prepend=True),
        encoder.vit.blocks[0].register_forward_pre_hook(lambda part, inputs: seen.update(tokens=inputs[0][:, 1:])),
    ]
    encoder(x)
    for hook in hooks:
        hook.remove()
    return seen["tokens"].unflatten(1, seen["image"].shape[1:3]) - seen["image"]


def patch_at(lower, upper, shape=SHAPE):
    coordinates = coordinates_of_box(lower, upper, shape)
    return torch.cat([torch.rand(1, *coordinates.shape[1:]), coordinates])[None]


def middles_of(x, size):
    """(2, S, h, w): coordinates at the middles of a patch's tokens, along the last two axes."""
    return functional.adaptive_avg_pool3d(x[0, 2:], (x.shape[2], *size))


def test_a_patch_that_is_the_whole_slice_has_the_embeddings_as_they_are():
    encoder = make_encoder()
    x = patch_at((0, 0, 0), (2, 64, 64), (2, 64, 64))
    torch.testing.assert_close(positions_of(encoder, x)[1].flatten(0, 1), encoder.vit.pos_embed[0, 1:], atol=1e-5, rtol=1e-5)
    usual = make_encoder(positions_in_slice=False)
    for one, other in zip(encoder(x), usual(x[:, :1]), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", [16, 8])
def test_a_patch_has_the_embeddings_at_its_place(scale):
    encoder = with_gradient(make_encoder(slice_scale=scale))
    x = patch_at((2, 16, 32), (4, 48, 64))
    found = positions_of(encoder, x)
    assert found.shape == (2, 32 // scale, 32 // scale, 24)
    expected = middles_of(x, found.shape[1:3])
    torch.testing.assert_close(found[..., :2], expected.permute(1, 2, 3, 0), atol=1e-4, rtol=1e-4)
    assert not found[..., 2:].any()


def test_they_are_turned_and_zoomed_with_the_patch():
    encoder = with_gradient(make_encoder())
    x = patch_at((2, 16, 32), (4, 48, 64))
    turned = positions_of(encoder, torch.rot90(x, 1, (3, 4)))
    torch.testing.assert_close(turned[..., :2], torch.rot90(positions_of(encoder, x), 1, (1, 2))[..., :2], atol=1e-4, rtol=1e-4)
    wide = patch_at((2, 16, 16), (4, 48, 80))[..., ::2]  # every second voxel: half as large
    assert positions_of(encoder, wide)[0, 0, :, 1].tolist() == pytest.approx(middles_of(wide, (2, 2))[1, 0, 0].tolist(), abs=1e-4)


def test_beyond_the_slice_they_are_those_of_its_border():
    found = positions_of(with_gradient(make_encoder()), patch_at((0, -64, 0), (1, 0, 64)))
    torch.testing.assert_close(found[..., 0], torch.full((1, 4, 4), -1 + 1 / GRID))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_may_be_cut_along_any_axis_and_averaged(axis):
    first, other = with_gradient(make_encoder(slice_step=2)), with_gradient(make_encoder(slice_axis=axis, slice_step=2))
    x = patch_at((2, 16, 32), (6, 48, 64))
    moved = x.movedim(2, 2 + axis).clone()
    order = [0, 1, 2]
    order.insert(axis, order.pop(0))
    moved[:, 1:] = moved[:, [1 + channel for channel in order]]
    torch.testing.assert_close(positions_of(other, moved), positions_of(first, x))


def test_a_slice_that_is_known_is_known_by_its_place_too():
    """Prediction keeps the tokens of slices with the same pixels; here the same pixels elsewhere have others."""
    encoder = make_encoder()
    known = SliceTokens(encoder.token_maps)
    here, there = patch_at((2, 16, 32), (4, 48, 64)), patch_at((2, 0, 0), (4, 32, 32))
    there[:, :1] = here[:, :1]
    for x in (here, there, here):
        for one, other in zip(encoder(x, known), encoder(x), strict=True):
            torch.testing.assert_close(one, other)
    assert known.encoded == 4 and known.asked == 6


def test_adapters_are_trained_and_merged_beside_them():
    encoder = make_encoder()
    encoder.attach_adapters(2)
    with torch.no_grad():
        for parameter in encoder.adapters.parameters():
            parameter.normal_(std=0.1)
    x = patch_at((2, 16, 32), (4, 48, 64))
    expected = encoder(x)
    assert expected[0].requires_grad
    merged = make_encoder()
    merged.load_state_dict(encoder.state_dict())
    for one, other in zip(merged(x), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_2d():
    encoder = with_gradient(make_encoder())
    coordinates = coordinates_of_box((3, 16, 32), (4, 48, 64), SHAPE)[:, 0]
    x = torch.cat([torch.rand(1, 32, 32), coordinates])[None]
    expected = functional.adaptive_avg_pool2d(coordinates[1:], 2).permute(1, 2, 0)
    torch.testing.assert_close(positions_of(encoder, x)[0, ..., :2], expected, atol=1e-4, rtol=1e-4)


def test_a_copy_of_an_encoder_has_its_own_embeddings():
    encoder = with_gradient(make_encoder())
    x = patch_at((2, 16, 32), (4, 48, 64))
    copied = copy.deepcopy(encoder)
    copied.vit.pos_embed.zero_()
    assert not positions_of(copied, x).any() and positions_of(encoder, x).any()


VISION = {**TINY_VIT, "positions": "slice", "slice_axis": 0, "slice_step": 2, "intensity_windows": [[-1.0, 1.0]], "gate": "open"}


def test_network_sees_where_a_patch_lies():
    network = make_network(vision=VISION).eval()
    x = patch_for()
    size = x.shape[2:]
    boxes = (coordinates_of_box(low, [a + b for a, b in zip(low, size)], (64, 96, 96)) for low in ((0, 0, 0), (48, 70, 60)))
    here, there = (network(torch.cat([x, box.expand(2, *box.shape)], 1)) for box in boxes)
    assert here.shape[2:] == size and not torch.allclose(here, there, atol=1e-3)
    with pytest.raises(ValueError, match="which this patch does not tell: `cdpd predict` does, nnUNetv2_predict cannot"):
        network(x)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3.lvd1689m", "vit_small_patch16_rope_ape_224"])
def test_refused_where_embeddings_could_not_be_moved_or_not_all(name):
    with pytest.raises(ValueError, match=f"{name} has no position embeddings, or further ones"):
        SliceEncoder(name, num_maps=1, positions_in_slice=True, model_kwargs={"embed_dim": 24, "depth": 2, "num_heads": 2})


def test_refused_beside_settings_that_tell_the_place_themselves():
    for other in ({"whole_slices": True}, {"source": "coordinates"}):
        with pytest.raises(ValueError, match="`positions` 'slice' is for a ViT that sees patches"):
            VisionSettings(positions="slice", **other)
    with pytest.raises(ValueError, match="vision `positions` is one of patch, slice, got 'image'"):
        VisionSettings(positions="image")
