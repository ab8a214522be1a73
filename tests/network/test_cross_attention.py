"""WindowedCrossAttention: against a plain loop over windows, for any size, without seeing padding or opposite borders."""

import math
import pickle
from copy import deepcopy

import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from nnunetv2_cdpd.network import cross_attention as module
from nnunetv2_cdpd.network.cross_attention import (
    WINDOW,
    CrossAttentionBlock,
    WindowedCrossAttention,
    hidden_voxels,
    relative_position_index,
    window_mask,
)
from nnunetv2_cdpd.released.network import PaperCrossAttention, PaperCrossAttentionBlock


def trained(attention):
    """Attention that has an effect; a new one adds nothing to the features."""
    for block in attention.blocks:
        for layer in (block.project, block.mlp[-1]):
            layer.reset_parameters()
    return attention


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
                    query[tuple(q)][part] @ key[tuple(k)][part] / math.sqrt(width)
                    + block.position_bias[index[place(q), place(k)], head]
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
    attention = trained(WindowedCrossAttention(8, 3))
    assert torch.isfinite(attention(torch.randn(1, 8, 1, 4, 5), torch.randn(1, 8, 1, 4, 5))).all()


def test_tokens_change_the_answer_and_are_not_changed():
    torch.manual_seed(0)
    attention = trained(WindowedCrossAttention(8, 3))
    x, y = torch.randn(1, 8, 4, 5, 6), torch.randn(1, 8, 4, 5, 6)
    kept = y.clone()
    assert not torch.allclose(attention(x, y), attention(x, torch.zeros_like(y)), atol=1e-3)
    assert torch.equal(y, kept)


def test_a_new_one_adds_nothing_and_learns_from_the_tokens():
    """Otherwise tokens that say nothing yet disturb the features from the first step on."""
    torch.manual_seed(0)
    attention = WindowedCrossAttention(8, 3)
    x, y = torch.randn(1, 8, 4, 5, 6), torch.randn(1, 8, 4, 5, 6)
    torch.testing.assert_close(attention(x, y), attention.norm(x.movedim(1, -1)).movedim(-1, 1))
    optimizer = torch.optim.AdamW(attention.parameters(), 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        attention(x, y).square().flatten(1)[:, ::2].sum().backward()
        optimizer.step()
    assert all(block.query.weight.grad.any() for block in attention.blocks)
    assert not torch.allclose(attention(x, y), attention(x, torch.zeros_like(y)), atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 7), (4, 5)])
def test_any_size_also_below_the_window(size):
    out = trained(WindowedCrossAttention(6, len(size)))(torch.randn(2, 6, *size), torch.randn(2, 6, *size))
    assert out.shape == (2, 6, *size) and torch.isfinite(out).all()


@pytest.mark.parametrize("channels", [1, 6, 7, 8])
def test_any_number_of_channels_is_split_into_heads(channels):
    assert WindowedCrossAttention(channels, 2)(torch.randn(1, channels, 4, 5), torch.randn(1, channels, 4, 5)).shape == (
        1,
        channels,
        4,
        5,
    )


def test_far_voxels_do_not_meet():
    """Two blocks reach no further than the two windows that overlap a voxel: here 5 voxels."""
    torch.manual_seed(0)
    attention = trained(WindowedCrossAttention(8, 2)).eval()
    x, y = torch.randn(1, 8, 4, 30), torch.randn(1, 8, 4, 30)
    changed = x.clone()
    changed[..., 0] += 1
    moved = (attention(changed, y) - attention(x, y)).abs().amax((0, 1, 2))
    assert moved[0] > 0 and not moved[6:].any()  # nor by the cyclic shift at the opposite border


def test_gradients_are_right():
    attention = trained(WindowedCrossAttention(2, 2)).double()
    inputs = [torch.randn(1, 2, 4, 3, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(attention, inputs, fast_mode=True)


def test_a_batch_is_its_samples_one_by_one():
    torch.manual_seed(0)
    attention = trained(WindowedCrossAttention(8, 3))
    x, y = torch.randn(3, 8, 4, 5, 6), torch.randn(3, 8, 4, 5, 6)
    one_by_one = torch.cat([attention(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(attention(x, y), one_by_one, atol=1e-5, rtol=1e-5)


# ---- the mask is made once for each size ----------------------------------------------------------------------------


@pytest.fixture
def masks_made(monkeypatch):
    """Sizes and shifts for which a mask was made, in order."""
    made, make = [], module.window_mask
    monkeypatch.setattr(module, "window_mask", lambda size, shift, *rest: made.append((*size, shift)) or make(size, shift, *rest))
    module._kept_hidden_voxels.cache_clear()
    yield made
    module._kept_hidden_voxels.cache_clear()


def test_a_mask_is_made_once_for_each_size_and_shift(masks_made):
    attention, other = WindowedCrossAttention(8, 3), WindowedCrossAttention(4, 3)
    for size in ((4, 5, 6), (4, 5, 6), (4, 5, 7)):
        attention(torch.randn(1, 8, *size), torch.randn(1, 8, *size))
        other(torch.randn(2, 4, *size), torch.randn(2, 4, *size))  # of the next fold, say
    assert masks_made == [(4, 5, 6, 0), (4, 5, 6, 1), (4, 5, 7, 0), (4, 5, 7, 1)]


def test_a_mask_of_a_prediction_serves_a_training(masks_made):
    torch.manual_seed(0)
    attention = trained(WindowedCrossAttention(8, 3))
    x, y = torch.randn(1, 8, 4, 5, 6), torch.randn(1, 8, 4, 5, 6)
    with torch.inference_mode():
        predicted = attention(x, y)
    out = attention(x, y)
    out.square().sum().backward()
    assert len(masks_made) == 2 and all(block.position_bias.grad.any() for block in attention.blocks)
    torch.testing.assert_close(out, predicted, atol=1e-5, rtol=1e-5)


def test_masks_are_kept_by_precision_and_padding_and_not_by_the_network(masks_made):
    attention, size = WindowedCrossAttention(8, 2), torch.Size((4, 5))
    x = torch.randn(1, 8, *size)
    names = list(attention.state_dict())
    before = attention(x, x)
    assert list(attention.state_dict()) == names
    for copy in (deepcopy(attention), pickle.loads(pickle.dumps(attention))):
        assert torch.equal(copy(x, x), before)
    assert attention.double()(x.double(), x.double()).dtype == torch.float64
    assert masks_made == [(4, 5, 0), (4, 5, 1)] * 2
    seen, hidden = (hidden_voxels(x, size, 0, mask_padding) for mask_padding in (False, True))
    assert seen.isneginf().sum() == 0 and hidden.isneginf().any()


def test_fake_tensors_leave_no_masks_behind(masks_made):
    """Tools that estimate memory run a network on tensors without values."""
    size = torch.Size((4, 5))
    with FakeTensorMode():
        assert isinstance(hidden_voxels(torch.zeros(1), size, 0, True), FakeTensor)
    kept = hidden_voxels(torch.zeros(1), size, 0, True)
    assert type(kept) is torch.Tensor and hidden_voxels(torch.zeros(1), size, 0, True) is kept
    with FakeTensorMode():
        assert isinstance(hidden_voxels(torch.zeros(1), size, 0, True), FakeTensor)


# ---- precision and kernels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_precision_of_the_features_is_given_back(monkeypatch, dtype):
    """In mixed precision on a GPU a LayerNorm gives float32, which it does not on a CPU."""
    norm = torch.nn.functional.layer_norm
    monkeypatch.setattr(torch.nn.functional, "layer_norm", lambda x, *rest, **named: norm(x.float(), *rest, **named))
    attention = trained(WindowedCrossAttention(8, 3))
    x, y = torch.randn(1, 8, 4, 5, 6, dtype=dtype), torch.randn(1, 8, 4, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(x, y).dtype == dtype


class Called(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


def test_prediction_on_a_cpu_takes_the_fused_kernel_and_training_the_one_that_teaches_the_bias():
    torch.manual_seed(0)
    attention = trained(WindowedCrossAttention(8, 3))
    x, y = torch.randn(2, 8, 4, 5, 6), torch.randn(2, 8, 4, 5, 6)
    with torch.no_grad(), Called() as called:
        fused = attention(x, y)
    assert "_scaled_dot_product_flash_attention_for_cpu" in called.names
    with sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(attention(x, y), fused, atol=1e-5, rtol=1e-5)


def test_paper_sees_padding():
    """With keys of zero, padding takes its share of the softmax: 2 of 3 voxels along the last axis are real."""
    block = PaperCrossAttentionBlock(4, 3, shift=0, drop_path=0.0).eval()
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        block.key_value.weight[4:] = torch.eye(4)
        block.project.weight.copy_(torch.eye(4))
        x = torch.ones(1, 3, 3, 2, 4)
        torch.testing.assert_close(block._attention(x, x), torch.full((1, 3, 3, 2, 4), 2 / 3))
        default = CrossAttentionBlock(4, 3, shift=0)
        default.load_state_dict(block.state_dict())
        torch.testing.assert_close(default._attention(x, x), x)


def test_paper_scatters_windows_and_the_default_does_not():
    x = torch.arange(6 * 6 * 9).view(1, 6, 6, 9, 1).float()
    default, paper = CrossAttentionBlock(1, 3, 0), PaperCrossAttentionBlock(1, 3, 0, 0.0)
    windows = default._to_windows(x)
    assert torch.equal(default._from_windows(windows, x.shape[1:4]), x)
    scattered = paper._from_windows(windows, x.shape[1:4])
    assert not torch.equal(scattered, x) and torch.equal(scattered.flatten().sort().values, x.flatten())


def test_paper_drops_paths_of_samples_in_training_only():
    torch.manual_seed(0)
    block = PaperCrossAttentionBlock(4, 2, shift=0, drop_path=0.5).train()
    ones = block._dropped(torch.ones(200, 2, 2, 4))
    per_sample = ones.flatten(1)
    assert set(per_sample[:, 0].tolist()) == {0.0, 2.0} and torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert torch.equal(block.eval()._dropped(ones), ones)
    rates = [block.drop_path for block in PaperCrossAttention(4, 3).blocks]
    assert rates == pytest.approx([0, 0.3 / 9])
