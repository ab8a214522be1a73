"""WindowedCrossAttention: a U-Net stage asks by its vision tokens and answers with its own features, window by window.

Query from the tokens, key and value from the CNN features, in windows of 3 voxels per axis (27 tokens), the second block
shifted by one voxel. A block may also work the other way: query from the features, key and value from the tokens.

Source: CDPDNet, arXiv 2505.18958; windows after Liu et al., Swin Transformer, arXiv 2103.14030. What differs from the
released code: voxels that were padded to whole windows are masked, so that any size works; every window's answers go back
to where its queries were (released: scattered over the stage, since windows are put together with their axes in a wrong
order); blocks start as the identity (released: random), unless the plans say otherwise, and no drop path.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunetv2_cdpd.network.tracing import is_exported, is_traced

WINDOW = 3
NUM_HEADS = 4
MLP_RATIO = 4
KEPT_MASKS = 16  # two of a fused stage, in the precisions of training and prediction


class WindowedCrossAttention(nn.Module):
    """Features x and tokens y, both (B, C, X, Y(, Z)) -> (B, C, X, Y(, Z)), which replaces x.

    Args:
        channels: C.
        dim: 2 or 3 spatial axes.
        tokens_ask: Of each block: the tokens ask and the features answer, or the other way round.
        zero: Blocks start as the identity.
    """

    def __init__(self, channels: int, dim: int, tokens_ask: Sequence[bool] = (True, True), zero: bool = True) -> None:
        super().__init__()
        self.zero = zero
        blocks = [self.make_block(channels, dim, index) for index in range(len(tokens_ask))]
        for block, asking in zip(blocks, tokens_ask):
            block.tokens_ask = asking
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(channels)

    def make_block(self, channels: int, dim: int, index: int) -> "CrossAttentionBlock":
        block = CrossAttentionBlock(channels, dim, shift=WINDOW // 2 if index % 2 else 0)
        for last in (block.project, block.mlp[-1]) if self.zero else ():  # so that what it adds is learned
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
        return block

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        dtype = x.dtype
        x, y = x.movedim(1, -1).contiguous(), y.movedim(1, -1).contiguous()  # (B, X, Y, Z, C)
        for block in self.blocks:
            x = block(x, y)
        # Autocast on a GPU leaves LayerNorm in float32, and all that follows would work on twice the bytes.
        return self.norm(x).to(dtype).movedim(-1, 1)


class CrossAttentionBlock(nn.Module):
    """Attention and MLP with residuals on channels-last features x and tokens y (B, X, Y(, Z), C); y is not changed."""

    mask_padding = True
    tokens_ask = True
    position_index: Tensor

    def __init__(self, channels: int, dim: int, shift: int) -> None:
        super().__init__()
        self.dim = dim
        self.shift = shift
        self.num_heads = math.gcd(NUM_HEADS, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, MLP_RATIO * channels), nn.GELU(), nn.Linear(MLP_RATIO * channels, channels))
        self.position_bias = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** dim, self.num_heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        self.register_buffer("position_index", relative_position_index(dim), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self._attention(self.norm1(x), self.norm1(y))
        return x + self.mlp(self.norm2(x))

    def _attention(self, x: Tensor, y: Tensor) -> Tensor:
        """What tokens y ask of features x, or these of the tokens."""
        size = x.shape[1:-1]
        asking, asked = (y, x) if self.tokens_ask else (x, y)
        # Windows before projections, which have no bias and leave padding zero: a key and a value take twice the moves.
        query = self._heads(self.query(self._to_windows(asking)))
        key, value = (self._heads(part) for part in self.key_value(self._to_windows(asked)).chunk(2, -1))
        tokens = WINDOW**self.dim
        bias = self.position_bias[self.position_index.flatten()].view(tokens, tokens, -1).permute(2, 0, 1)  # (H, T, T)
        mask = bias.to(query.dtype) + hidden_voxels(query, size, self.shift, self.mask_padding)  # (W, H, T, T)
        if is_exported():  # a graph does not know how many samples there are
            scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2) + mask  # (B, W, H, T, T)
            answers = scores.softmax(-1) @ value
        else:  # sample by sample: on four axes, which fused kernels take, with one mask for all samples and heads where they lie
            samples = (functional.scaled_dot_product_attention(*sample, attn_mask=mask) for sample in zip(query, key, value))
            answers = torch.stack(list(samples))  # (B, W, H, T, C / H)
        return self.project(self._from_windows(answers.transpose(2, 3).flatten(3), size))

    def _heads(self, windows: Tensor) -> Tensor:
        """(B, W, T, C) -> (B, W, H, T, C / H)."""
        return windows.unflatten(-1, (self.num_heads, -1)).transpose(2, 3)

    def _to_windows(self, x: Tensor) -> Tensor:
        """(B, X, Y, Z, C) -> (B, W, T, C), padded to whole windows and shifted."""
        padding = [p for n in reversed(x.shape[1:-1]) for p in (0, -n % WINDOW)]
        x = functional.pad(x, [0, 0, *padding]) if any(padding) else x  # without any, it would copy
        return windows_of(torch.roll(x, [-self.shift] * self.dim, list(range(1, self.dim + 1))) if self.shift else x)

    def _from_windows(self, windows: Tensor, size: torch.Size) -> Tensor:
        """Inverse of `_to_windows`: (B, W, T, C) -> (B, X, Y, Z, C)."""
        counts = [math.ceil(n / WINDOW) for n in size]
        x = self.merged(windows.unflatten(2, [WINDOW] * self.dim).unflatten(1, counts))
        x = torch.roll(x, [self.shift] * self.dim, list(range(1, self.dim + 1))) if self.shift else x
        for axis, length in enumerate(size, start=1):
            x = x.narrow(axis, 0, length)
        return x

    def merged(self, windows: Tensor) -> Tensor:
        """Windows side by side: (B, windows along X, Y, Z, 3, 3, 3, C) -> (B, X, Y, Z, C) of whole windows."""
        axes = range(1, self.dim + 1)
        x = windows.permute(0, *[a for axis in axes for a in (axis, self.dim + axis)], -1)
        for axis in axes:
            x = x.flatten(axis, axis + 1)
        return x


def windows_of(x: Tensor) -> Tensor:
    """(B, X, Y, Z, C) of whole windows -> (B, W, T, C)."""
    dim = x.ndim - 2
    for axis in range(dim):  # every axis splits into (windows, voxels), so the next one lies one further
        x = x.unflatten(2 * axis + 1, (-1, WINDOW))
    return x.permute(0, *range(1, 2 * dim, 2), *range(2, 2 * dim + 1, 2), -1).flatten(dim + 1, -2).flatten(1, dim)


def relative_position_index(dim: int) -> Tensor:
    """(T, T) index into the position bias for each pair of voxels of a window, T = 3 ^ dim."""
    axes = [torch.arange(WINDOW)] * dim
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # (dim, T)
    offset = coordinates[:, :, None] - coordinates[:, None] + WINDOW - 1  # (dim, T, T), 0 ... 2 * WINDOW - 2
    index = offset[0]
    for axis_offset in offset[1:]:
        index = index * (2 * WINDOW - 1) + axis_offset
    return index


def hidden_voxels(like: Tensor, size: torch.Size, shift: int, mask_padding: bool) -> Tensor:
    """`window_mask` to add to scores: (W, 1, T, T) of 0 and -inf, in `like`'s dtype and on its device; made once for a size."""
    if is_traced(like):  # a compiler folds its making into the graph
        return _hidden_voxels(size, shift, like.dtype, like.device, mask_padding)
    with torch.inference_mode(False):  # a training may use it after a prediction
        return _kept_hidden_voxels(size, shift, like.dtype, like.device, mask_padding)


def _hidden_voxels(size: torch.Size, shift: int, dtype: torch.dtype, device: torch.device, mask_padding: bool) -> Tensor:
    allowed = window_mask(size, shift, device, mask_padding)
    return torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill(~allowed, -math.inf)[:, None]


_kept_hidden_voxels = lru_cache(maxsize=KEPT_MASKS)(_hidden_voxels)


def window_mask(size: torch.Size, shift: int, device: torch.device, mask_padding: bool = True) -> Tensor:
    """Which voxels of a window may see each other: bool (W, T, T).

    Not those that were padded, and not those that the cyclic shift brought together from opposite borders. Every voxel
    sees itself, so that a window of padding alone stays finite.

    Args:
        mask_padding: False: padded voxels are seen as well, as in the released code.
    """
    labels = torch.zeros((1,) * len(size), dtype=torch.long, device=device)  # one bit per axis: wrapped around or not
    valid = torch.ones((1,) * len(size), dtype=torch.bool, device=device)
    for axis, length in enumerate(size):
        padded = math.ceil(length / WINDOW) * WINDOW
        original = (torch.arange(padded, device=device) + shift) % padded
        wrapped = torch.arange(padded, device=device) + shift >= padded
        shape = [-1 if other == axis else 1 for other in range(len(size))]
        labels = labels * 2 + wrapped.long().view(shape)
        valid = valid & (original < length).view(shape)
    labels, valid = (windows_of(part.expand(labels.shape)[None, ..., None])[0, ..., 0] for part in (labels, valid))  # (W, T)
    allowed = labels[:, :, None] == labels[:, None]
    if not mask_padding:
        return allowed
    allowed = allowed & valid[:, None]
    return allowed | torch.eye(allowed.shape[-1], dtype=torch.bool, device=device)
