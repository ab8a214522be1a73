"""SliceEncoder and TokenAdaptor: what the ViT gets to see, and that tokens keep the place of their voxels."""

import pytest
import torch

from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.token_adaptor import TokenAdaptor

PATCH = (4, 33, 50)


def make_encoder(**changes):
    kwargs = {
        "num_maps": 2,
        "patch_size": PATCH,
        "slice_axis": 0,
        "slice_step": 1,
        "intensity_windows": [[-1.0, 3.0]],
        "model_kwargs": {"embed_dim": 24, "depth": 4, "num_heads": 2},
        **changes,
    }
    return SliceEncoder("vit_tiny_patch16_224", **kwargs)


def test_maps_have_the_slice_axis_first_and_whole_vit_patches():
    maps = make_encoder()(torch.randn(2, 1, *PATCH))
    assert [tuple(grid.shape) for grid in maps] == [(2, 24, 4, 2, 3)] * 2  # 33 -> 32 = 2 patches, 50 -> 48 = 3


def test_slice_axis_and_step():
    encoder = make_encoder(patch_size=(33, 50, 6), slice_axis=2, slice_step=3)
    assert encoder(torch.randn(1, 1, 33, 50, 6))[0].shape == (1, 24, 2, 2, 3)


def test_same_volume_along_another_axis_gives_the_same_tokens():
    x = torch.randn(1, 1, *PATCH)
    first = make_encoder().eval()
    last = make_encoder(patch_size=(33, 50, 4), slice_axis=2)
    last.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(x)[0], last(x.permute(0, 1, 3, 4, 2))[0])


def test_2d():
    assert make_encoder(patch_size=(33, 50))(torch.randn(2, 1, 33, 50))[0].shape == (2, 24, 2, 3)


def test_images_are_windowed_grey_and_normalised():
    encoder = make_encoder()
    low, high = (encoder._to_images(torch.full((1, 1, *PATCH), value)) for value in (-5.0, 3.0))
    mean, std = encoder.mean.view(1, 3, 1, 1), encoder.std.view(1, 3, 1, 1)
    torch.testing.assert_close(low, ((0 - mean) / std).expand(low.shape))
    torch.testing.assert_close(high, ((1 - mean) / std).expand(high.shape))


def test_slices_of_a_step_are_averaged_so_that_all_are_seen():
    encoder = make_encoder(slice_step=2)
    x = torch.rand(1, 1, *PATCH)
    images = encoder._to_images(x)
    averaged = make_encoder(patch_size=(2, 33, 50))._to_images((x[:, :, ::2] + x[:, :, 1::2]) / 2)
    torch.testing.assert_close(images, averaged)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_channels_become_rgb(channels):
    encoder = make_encoder(intensity_windows=[[0.0, 1.0]] * channels)
    x = torch.rand(1, channels, *PATCH)
    images = encoder._to_images(x) * encoder.std.view(1, 3, 1, 1) + encoder.mean.view(1, 3, 1, 1)
    grey = torch.allclose(images[:, 0], images[:, 1])
    assert grey == (channels != 3)


def test_step_must_divide_the_patch():
    with pytest.raises(ValueError, match="got 3 for 4 voxels"):
        make_encoder(slice_step=3)


def test_maps_are_those_of_the_last_blocks():
    encoder = make_encoder(num_maps=3)
    images = encoder._to_images(torch.randn(1, 1, *PATCH))
    expected = encoder.vit.forward_intermediates(images, indices=[1, 2, 3], norm=True, intermediates_only=True)
    for grid, wanted in zip(encoder(torch.randn(1, 1, *PATCH)), expected):
        assert grid.shape[1] == wanted.shape[1]
    x = torch.randn(1, 1, *PATCH)
    wanted = encoder.vit.forward_intermediates(encoder._to_images(x), indices=[1, 2, 3], norm=True, intermediates_only=True)
    for grid, map_ in zip(encoder(x), wanted):
        assert torch.equal(grid[0].transpose(0, 1), map_)


def test_tokens_keep_the_place_of_their_voxels():
    """A token grid that holds its own coordinates must come out as the coordinates of the stage's voxels."""
    adaptor = TokenAdaptor(3, 3, dim=3, slice_axis=1)
    adaptor.norm, adaptor.project = torch.nn.Identity(), torch.nn.Identity()
    for parameter in adaptor.context.parameters():
        torch.nn.init.zeros_(parameter)
    shape = (4, 6, 8)  # S, h, w
    centres = [(torch.arange(n) + 0.5) / n for n in shape]  # in units of the patch
    tokens = torch.stack(torch.meshgrid(*centres, indexing="ij"))[None]  # (1, 3, S, h, w)
    size = (12, 8, 16)  # the slice axis is the second of the volume
    out = adaptor(tokens, size)
    assert out.shape == (1, 3, *size)
    inside = (slice(2, -2), slice(1, -1), slice(1, -1))  # interpolation holds still beyond the outermost token
    for channel, axis in enumerate((1, 0, 2)):  # S lies on axis 1, h on 0, w on 2
        expected = ((torch.arange(size[axis]) + 0.5) / size[axis]).view([-1 if a == axis else 1 for a in range(3)])
        torch.testing.assert_close(out[0, channel][inside], expected.expand(size)[inside])


def test_adaptor_works_on_a_single_token():
    assert TokenAdaptor(24, 8, dim=3)(torch.randn(1, 24, 1, 1, 1), (2, 3, 4)).shape == (1, 8, 2, 3, 4)
