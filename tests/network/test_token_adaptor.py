"""TokenAdaptor: tokens come to the size and channels of a stage and keep the place of their voxels."""

import pytest
import torch

from nnunetv2_cdpd.network.token_adaptor import TokenAdaptor
from nnunetv2_cdpd.released.network import PaperTokenAdaptor


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


def test_2d():
    assert TokenAdaptor(24, 8, dim=2)(torch.randn(2, 24, 3, 4), (5, 6)).shape == (2, 8, 5, 6)


@pytest.mark.parametrize("slice_axis, size", [(0, (2, 5, 6)), (1, (5, 2, 6)), (2, (5, 6, 2))])
def test_paper_makes_one_token_of_14_slices_and_leaves_the_rest(slice_axis, size):
    torch.manual_seed(0)
    adaptor = PaperTokenAdaptor(6, 4, dim=3, slice_axis=slice_axis).eval()
    tokens = torch.randn(1, 6, 30, 5, 6)
    out = adaptor(tokens, size)
    assert out.shape == (1, 4, *size)
    changed = tokens.clone()
    changed[:, :, 28:] = 0
    assert torch.equal(adaptor(changed, size), out)
    changed[:, :, 27] = 0
    assert not torch.equal(adaptor(changed, size), out)


def test_paper_stretches_tokens_from_corner_to_corner():
    adaptor = PaperTokenAdaptor(1, 1, dim=3)
    adaptor.slices, adaptor.context = torch.nn.Identity(), torch.nn.Identity()
    tokens = torch.arange(3.0).view(1, 1, 3, 1, 1)
    assert adaptor(tokens, (5, 1, 1)).flatten().tolist() == [0, 0.5, 1, 1.5, 2]
