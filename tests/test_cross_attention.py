"""WindowedCrossAttention: against a plain loop over windows, for any size, without seeing padding or opposite borders."""

import math

import pytest
import torch

from nnunetv2_cdpd.network.cross_attention import (
    WINDOW,
    CrossAttentionBlock,
    WindowedCrossAttention,
    relative_position_index,
    window_mask,
)


def attention_by_loops(block, x, y):
    """What the block's attention should give, one query voxel at a time (channels last, one sample)."""
    size, shift = x.shape[1:-1], block.shift
    query, (key, value) = block.query(y)[0], block.key_value(x)[0].chunk(2, -1)
    heads, out = block.num_heads, torch.zeros_like(x[0])
    width = x.shape[-1] // heads
    index = relative_position_index(block.dim)
    voxels = list(torch.cartesian_prod(*[torch.arange(n) for n in size]).view(-1, len(size)).tolist())

    def window(voxel):  # voxels share a window if they do so on the grid of windows that starts at `shift`
        return tuple((v - shift) // WINDOW for v in voxel)

    def place(voxel):
        p = 0
        for v in voxel:
            p = p * WINDOW + (v - shift) % WINDOW
        return p

    for q in voxels:
        seen = [k for k in voxels if window(k) == window(q)]
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = torch.stack(
                [
                    query[tuple(q)][part] @ key[tuple(k)][part] / math.sqrt(width) + block.position_bias[index[place(q), place(k)], head]
                    for k in seen
                ]
            )
            out[tuple(q)][part] = (scores.softmax(0)[:, None] * torch.stack([value[tuple(k)][part] for k in seen])).sum(0)
    return block.project(out)[None]


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("size", [(3, 4, 5), (2, 3, 7), (1, 4), (5, 6)])
def test_attention_equals_a_loop_over_windows(size, shift):
    torch.manual_seed(0)
    block = CrossAttentionBlock(8, len(size), shift)
    torch.nn.init.normal_(block.position_bias)
    x, y = torch.randn(1, *size, 8), torch.randn(1, *size, 8)
    with torch.no_grad():
        torch.testing.assert_close(block._attention(x, y), attention_by_loops(block, x, y), atol=1e-5, rtol=1e-5)


def test_windows_are_undone_exactly():
    block = CrossAttentionBlock(4, 3, shift=1)
    x = torch.randn(2, 4, 5, 7, 4)
    assert torch.equal(block._from_windows(block._to_windows(x), x.shape[1:-1]), x)


def test_every_voxel_sees_itself_so_padding_stays_finite():
    allowed = window_mask(torch.Size((1, 4, 5)), 1, torch.device("cpu"))
    assert allowed.diagonal(dim1=1, dim2=2).all()
    attention = WindowedCrossAttention(8, 3)
    assert torch.isfinite(attention(torch.randn(1, 8, 1, 4, 5), torch.randn(1, 8, 1, 4, 5))).all()


def test_tokens_change_the_answer_and_are_not_changed():
    torch.manual_seed(0)
    attention = WindowedCrossAttention(8, 3)
    x, y = torch.randn(1, 8, 4, 5, 6), torch.randn(1, 8, 4, 5, 6)
    kept = y.clone()
    assert not torch.allclose(attention(x, y), attention(x, torch.zeros_like(y)), atol=1e-3)
    assert torch.equal(y, kept)
