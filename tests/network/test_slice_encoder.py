"""SliceEncoder: what the ViT gets to see, and which tokens come out."""

import pytest
import torch

from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.released.network import PaperSliceEncoder

PATCH = (4, 33, 50)
TINY = {"embed_dim": 24, "depth": 4, "num_heads": 2}


def make_encoder(**changes):
    kwargs = {
        "num_maps": 2,
        "slice_axis": 0,
        "slice_step": 1,
        "intensity_windows": [[-1.0, 3.0]],
        "model_kwargs": TINY,
        **changes,
    }
    return SliceEncoder("vit_tiny_patch16_224", **kwargs)


def test_maps_have_the_slice_axis_first_and_whole_vit_patches():
    maps = make_encoder()(torch.randn(2, 1, *PATCH))
    assert [tuple(grid.shape) for grid in maps] == [(2, 24, 4, 2, 3)] * 2  # 33 -> 32 = 2 patches, 50 -> 48 = 3


def test_slice_axis_and_step():
    encoder = make_encoder(slice_axis=2, slice_step=3)
    assert encoder(torch.randn(1, 1, 33, 50, 6))[0].shape == (1, 24, 2, 2, 3)


def test_same_volume_along_another_axis_gives_the_same_tokens():
    x = torch.randn(1, 1, *PATCH)
    first = make_encoder().eval()
    last = make_encoder(slice_axis=2)
    last.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(x)[0], last(x.permute(0, 1, 3, 4, 2))[0])


def test_2d():
    assert make_encoder()(torch.randn(2, 1, 33, 50))[0].shape == (2, 24, 2, 3)


def test_images_are_windowed_grey_and_normalised():
    encoder = make_encoder()
    low, high = (encoder.images(torch.full((1, 1, *PATCH), value)) for value in (-5.0, 3.0))
    mean, std = encoder.mean.view(1, 3, 1, 1), encoder.std.view(1, 3, 1, 1)
    torch.testing.assert_close(low, ((0 - mean) / std).expand(low.shape))
    torch.testing.assert_close(high, ((1 - mean) / std).expand(high.shape))


def test_slices_of_a_step_are_averaged_so_that_all_are_seen():
    encoder = make_encoder(slice_step=2)
    x = torch.rand(1, 1, *PATCH)
    images = encoder.images(x)
    averaged = make_encoder().images((x[:, :, ::2] + x[:, :, 1::2]) / 2)
    torch.testing.assert_close(images, averaged)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_channels_become_rgb(channels):
    encoder = make_encoder(intensity_windows=[[0.0, 1.0]] * channels)
    x = torch.rand(1, channels, *PATCH)
    images = encoder.images(x) * encoder.std.view(1, 3, 1, 1) + encoder.mean.view(1, 3, 1, 1)
    grey = torch.allclose(images[:, 0], images[:, 1])
    assert grey == (channels != 3)


def test_no_slice_is_dropped_where_the_step_does_not_divide_the_patch():
    encoder = make_encoder(slice_step=3)
    x = torch.rand(1, 1, *PATCH)
    before = encoder.images(x)
    assert before.shape[0] == 2  # 4 slices in groups of at most 3
    for index in range(4):
        changed = x.clone()
        changed[:, :, index] = 1
        assert not torch.equal(encoder.images(changed), before)


def test_maps_are_those_of_the_last_blocks():
    encoder, x = make_encoder(num_maps=3), torch.randn(1, 1, *PATCH)
    encoder.bfloat16_on_cpu = False
    wanted = encoder.vit.forward_intermediates(encoder.images(x), indices=[1, 2, 3], norm=True, intermediates_only=True)
    for grid, tokens in zip(encoder(x), wanted):
        assert torch.equal(grid[0].transpose(0, 1), tokens)


def test_more_maps_than_blocks_are_refused():
    with pytest.raises(ValueError, match="5 token maps need as many ViT blocks, and vit_tiny_patch16_224 has 4"):
        make_encoder(num_maps=5)


def test_window_that_ends_below_its_start_is_refused():
    with pytest.raises(ValueError, match="low <= high"):
        make_encoder(intensity_windows=[[1.0, -1.0]])


def test_window_of_no_width_stays_finite():
    assert torch.isfinite(make_encoder(intensity_windows=[[0.0, 0.0]])(torch.zeros(1, 1, *PATCH))[0]).all()


@pytest.mark.parametrize(
    "model_name",
    ["vit_small_patch14_reg4_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m", "eva02_tiny_patch14_224.mim_in22k"],
)
def test_other_vits_work_by_name(model_name):
    """Registers, rotary position embeddings: only patch tokens come out, and the size is free."""
    encoder = SliceEncoder(
        model_name, num_maps=2, intensity_windows=[[-1.0, 3.0]], model_kwargs={"embed_dim": 36, "depth": 2, "num_heads": 3}
    )
    size = [max(1, round(n / patch)) for n, patch in zip(PATCH[1:], encoder.vit_patch_size)]
    assert [tuple(grid.shape) for grid in encoder(torch.randn(2, 1, *PATCH))] == [(2, 36, 4, *size)] * 2


def test_paper_leaves_out_slices_that_fill_no_group_and_adds_a_vit_patch():
    encoder = PaperSliceEncoder("vit_tiny_patch16_224", num_maps=2, intensity_windows=[[0.0, 1.0]], model_kwargs=TINY)
    x = torch.rand(1, 1, 30, 32, 50)
    images = encoder.images(x)
    assert images.shape == (28, 3, 48, 64)
    assert images.min() >= 0 and images.max() <= 1  # no ImageNet statistics
    assert [tuple(grid.shape) for grid in encoder(x)] == [(1, 24, 28, 3, 4)] * 2


def test_bfloat16_on_a_cpu_changes_tokens_by_its_rounding_only():
    encoder = make_encoder()
    x = torch.randn(2, 1, 6, 20, 28)
    encoder.bfloat16_on_cpu = False
    exact = encoder(x)
    encoder.bfloat16_on_cpu = True
    for rounded, expected in zip(encoder(x), exact, strict=True):
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - expected).norm() / expected.norm() < 0.03


def test_paper_encoder_stays_in_single_precision():
    assert not PaperSliceEncoder("vit_tiny_patch16_224", num_maps=2, model_kwargs=TINY).bfloat16_on_cpu


def numbered(encoder):
    """The encoder with a ViT whose block k gives tokens of k throughout."""
    encoder.vit.forward_intermediates = lambda images, indices, **kwargs: [
        torch.full((len(images), 24, 2, 3), float(index + 1)) for index in indices
    ]
    return encoder


def test_chosen_blocks_one_for_each_map():
    encoder = numbered(make_encoder(blocks=[1, 3]))
    assert [grid.unique().tolist() for grid in encoder(torch.zeros(1, 1, *PATCH))] == [[1], [3]]
    assert encoder.embed_dim == 24


def test_more_blocks_than_maps_are_shared_out_in_order():
    one, other = numbered(make_encoder(blocks=[1, 2, 3, 4]))(torch.zeros(1, 1, *PATCH))
    assert one.shape == (1, 48, 4, 2, 3)
    assert one[0, :, 0, 0, 0].tolist() == [1] * 24 + [2] * 24 and other[0, :, 0, 0, 0].tolist() == [3] * 24 + [4] * 24
    assert make_encoder(blocks=[1, 2, 3, 4]).embed_dim == 48


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([3, 5], r"of 1 \.\.\. 4 of vit_tiny_patch16_224, ascending, got \[3, 5\]"),
        ([3, 1], "ascending"),
        ([0, 1], "ascending"),
        ([1, 2, 3], "2 fused stages evenly, got 3"),
        ([], "evenly, got 0"),
    ],
)
def test_blocks_that_are_not_there_are_refused(blocks, told):
    with pytest.raises(ValueError, match=told):
        make_encoder(blocks=blocks)


def test_slice_scale_is_voxels_per_token():
    encoder = make_encoder(slice_scale=8)
    assert encoder.images(torch.zeros(1, 1, *PATCH)).shape == (4, 3, 64, 96)  # 33 and 50 voxels -> 4 and 6 tokens of 16 pixels
    assert encoder(torch.zeros(1, 1, *PATCH))[0].shape == (1, 24, 4, 4, 6)
    with pytest.raises(ValueError, match="voxels above 0, got 0"):
        make_encoder(slice_scale=0)


def as_seen(encoder, x):
    """RGB in [0, 1] of the first voxel of each slice."""
    images = encoder.images(x) * encoder.std.view(1, 3, 1, 1) + encoder.mean.view(1, 3, 1, 1)
    return images[:, :, 0, 0]


def test_three_windows_become_red_green_and_blue():
    encoder = make_encoder(channels="windows", intensity_windows=[[0.0, 1.0], [0.0, 2.0], [-1.0, 1.0]])
    cascade = torch.ones(1, 2, *PATCH)  # of which the image is the first channel
    cascade[:, :1] = 0.5
    torch.testing.assert_close(as_seen(encoder, cascade), torch.tensor([[0.5, 0.25, 0.75]]).expand(4, 3))
    with pytest.raises(ValueError, match="takes three intensity windows, got 1"):
        make_encoder(channels="windows")


def test_neighbouring_slices_become_red_green_and_blue():
    x = torch.tensor([0.0, 0.2, 0.4, 1.0]).view(1, 1, 4, 1, 1).expand(1, 1, *PATCH)
    encoder = make_encoder(channels="neighbours", intensity_windows=[[0.0, 1.0]])
    expected = torch.tensor([[0.0, 0.0, 0.2], [0.0, 0.2, 0.4], [0.2, 0.4, 1.0], [0.4, 1.0, 1.0]])
    torch.testing.assert_close(as_seen(encoder, x), expected)


def test_channels_that_are_none_are_refused():
    with pytest.raises(ValueError, match="one of gray, windows, neighbours, got 'rgb'"):
        make_encoder(channels="rgb")
