"""PaperCDPDNet: the released network exactly, so that its checkpoint can be imported and its numbers reproduced.

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet). Each part below says what it does otherwise
than the default part it stands in for. Left out because it never reaches the output: the fusion of the second stage, the
token map of the fourth last ViT block, slices after the last whole group of 14, first convolutions for 2 or 4 channels.
The released code applies the first sample's task to a whole batch; here every sample has its own, which is the same for
the batches that the release works with.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunetv2_cdpd.network.cdpdnet import CDPDNet, TextTerms
from nnunetv2_cdpd.network.cross_attention import WINDOW, CrossAttentionBlock, WindowedCrossAttention
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.text_modulation import Affine, TextModulation, summed_over_prompts

SLICES_PER_TOKEN = 14  # of the adaptor's convolution along the slice axis
DROP_PATH = 0.3  # highest rate of ten blocks' linear schedule, of which each cross-attention uses the first two
DROP_PATH_BLOCKS = 10
VISION_ENTRIES = ("model_name", "model_kwargs", "slice_axis", "slice_step", "intensity_windows", "encoder", "mean", "std")


class PaperSliceEncoder(SliceEncoder):
    """Otherwise than SliceEncoder: no ImageNet statistics, one ViT patch more per axis, tokens before the last LayerNorm,
    position embeddings resampled without antialiasing, slices that fill no whole group left out.

    For ViTs with a class token and one learned position embedding, as DINOv2 without registers. In single precision on a
    CPU, like the numbers that it reproduces.
    """

    allow_bfloat16 = False

    def images(self, x: Tensor) -> Tensor:
        axis = 2 + self.slice_axis
        whole_groups = x.shape[axis] // SLICES_PER_TOKEN * SLICES_PER_TOKEN
        return super().images(x.narrow(axis, 0, whole_groups or x.shape[axis]))

    def image_size(self, size: Sequence[int]) -> list[int]:
        return [(length // patch + 1) * patch for length, patch in zip(size, self.vit_patch_size)]

    def normalised(self, x: Tensor) -> Tensor:
        return x

    def token_maps(self, images: Tensor) -> list[Tensor]:
        x = self.vit.patch_embed(images)  # (N, h, w, E)
        size = x.shape[1:3]
        x = torch.cat([self.vit.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], 1) + self.position_embedding(size)
        maps = []
        for block in self.vit.blocks:
            x = block(x)
            maps.append(x[:, 1:].transpose(1, 2).unflatten(2, size))  # (N, E, h, w)
        return maps[-self.num_maps :]

    def position_embedding(self, size: Sequence[int]) -> Tensor:
        """Of the class token and a grid of tokens (h, w): (1, 1 + h * w, E)."""
        class_token, grid = self.vit.pos_embed[:, :1], self.vit.pos_embed[:, 1:]
        grid = grid.transpose(1, 2).unflatten(2, self.vit.patch_embed.grid_size)  # (1, E, 37, 37)
        grid = functional.interpolate(grid, size=tuple(size), mode="bicubic", align_corners=False, antialias=False)
        return torch.cat([class_token, grid.flatten(2).transpose(1, 2)], 1)


class PaperTokenAdaptor(nn.Module):
    """Token grid (B, E, S, h, w) -> (B, C, X', Y', Z') at the size of a stage.

    Otherwise than TokenAdaptor: 14 slices become one token by a convolution, batch norm, and the tokens are stretched from
    corner to corner of the stage, though they stand for the middles of their slices.

    Args:
        embed_dim: E.
        channels: C.
        dim: 3.
        slice_axis: Where the grid's slice axis lies in the volume.
    """

    def __init__(self, embed_dim: int, channels: int, dim: int, slice_axis: int = 0) -> None:
        super().__init__()
        self.slice_axis = slice_axis
        kernel = (SLICES_PER_TOKEN, 1, 1)
        self.slices = nn.Conv3d(embed_dim, embed_dim, kernel, stride=kernel, groups=embed_dim)
        self.context = nn.Sequential(nn.Conv3d(embed_dim, channels, 3, padding=1), nn.BatchNorm3d(channels), nn.ReLU())

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        x = self.context(self.slices(tokens)).movedim(2, 2 + self.slice_axis)
        return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=True)


class PaperCrossAttentionBlock(CrossAttentionBlock):
    """Otherwise than CrossAttentionBlock: padded voxels are seen as well, drop path in training, and a window's answers are
    not put where its queries were: the release puts the windows together with their axes in a wrong order, which scatters
    them over the stage. The weights were trained with that, so it belongs to the network.
    """

    mask_padding = False

    def __init__(self, channels: int, dim: int, shift: int, drop_path: float) -> None:
        super().__init__(channels, dim, shift)
        self.drop_path = drop_path

    def merged(self, windows: Tensor) -> Tensor:
        batch, channels = windows.shape[0], windows.shape[-1]
        padded = [count * WINDOW for count in windows.shape[1:4]]
        # from (B, windows along X, Y, Z, x, y, z, C); in the right order it would be 0, 1, 4, 2, 5, 3, 6, 7
        return windows.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, *padded, channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self._dropped(self._attention(self.norm1(x), self.norm1(y)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        """Zero for some samples in training, the others scaled so that the mean stays."""
        if not self.training or self.drop_path == 0:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.drop_path
        return x * kept / (1 - self.drop_path)


class PaperCrossAttention(WindowedCrossAttention):
    """Otherwise than WindowedCrossAttention: blocks with drop path that see the padding.

    Where the padding of the first and the last axis differ, the released code fails; this one works.
    """

    def make_block(self, channels: int, dim: int, index: int) -> CrossAttentionBlock:
        return PaperCrossAttentionBlock(
            channels, dim, shift=WINDOW // 2 if index % 2 else 0, drop_path=DROP_PATH * index / (DROP_PATH_BLOCKS - 1)
        )


class PaperTextModulation(TextModulation):
    """Otherwise than TextModulation: the scale starts around 0, not at 1, and both terms have a bias."""

    def __init__(self, num_prompts: int, channels: int, text_channels: int) -> None:
        super().__init__(num_prompts, channels, text_channels)
        for weight in (self.scale, self.shift):
            nn.init.xavier_uniform_(weight.data.view(channels, -1))
        bound = (num_prompts * text_channels) ** -0.5  # of PyTorch's linear layers
        self.scale_bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.shift_bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def affine(self, text_features: Tensor) -> Affine:
        scale = summed_over_prompts(self.scale, text_features) + self.scale_bias
        return Affine(scale, summed_over_prompts(self.shift, text_features) + self.shift_bias)


class PaperCDPDNet(CDPDNet):
    """(B, C, X, Y, Z) patch, task (B,) -> logits (B, K, X, Y, Z), of the released network.

    Otherwise than CDPDNet: the bottleneck shares the text modulation of the stage above it, text features are 256 wide, and
    every decoder convolution is 3x3x3. Transposed and output convolutions have a bias, which the release has not; zero
    biases are the same.

    The release has no universal task, and its decoder depends on the task. A forward pass without a task therefore reads each
    class under every task that annotates it and returns the mean of the logits; all before the task prompt runs once.

    Its arguments are CDPDNet's; `task` may hold annotated_classes, the output channels that each task annotates, which a forward
    pass without tasks needs where there is no universal task.

    Raises:
        ValueError: What CDPDNet raises; a patch that is not 3D or has fewer slices than a token stands for; a bottleneck of
            other width than the stage above it; annotated_classes that leave out a class or are not one list per task.
    """

    slice_encoder_class = PaperSliceEncoder
    adaptor_class = PaperTokenAdaptor
    modulation_class = PaperTextModulation
    text_channels = 256

    reading_shares: Tensor | None

    def __init__(self, input_channels: int, num_classes: int, **kwargs: Any) -> None:
        patch_size = kwargs["patch_size"]
        if len(patch_size) != 3 or (kwargs["vision"] and patch_size[kwargs["vision"]["slice_axis"]] < SLICES_PER_TOKEN):
            raise ValueError(
                f"the paper's network needs 3D patches of at least {SLICES_PER_TOKEN} slices, got {tuple(patch_size)}"
            )
        if other := sorted(set(kwargs["vision"] or ()) - set(VISION_ENTRIES)):
            raise ValueError(f"vision {', '.join(other)}: the paper's network has no such settings, use CDPDNet")
        super().__init__(input_channels, num_classes, **kwargs)
        annotated = (kwargs["task"] or {}).get("annotated_classes")
        shares = None if annotated is None else reading_shares(annotated, self.num_tasks, self.decoder.num_classes)
        self.register_buffer("reading_shares", shares, persistent=False)

    def make_fusion(self, channels: int, dim: int) -> nn.Module:
        return PaperCrossAttention(channels, dim)

    def own_logits(self, skips: Sequence[Tensor], task: Tensor | None, text: TextTerms) -> Tensor | list[Tensor]:
        if task is not None or self.reading_shares is None or self.universal_task is not None:
            return super().own_logits(skips, task, text)
        total: list[Tensor] = []
        for index, shares in enumerate(self.reading_shares):
            outputs = self.decode(skips, torch.full(skips[0].shape[:1], index, device=skips[0].device), text)
            shares = shares.view(1, -1, 1, 1, 1)
            shared = [logits * shares.to(logits.dtype) for logits in ([outputs] if isinstance(outputs, Tensor) else outputs)]
            total = [sum_ + logits for sum_, logits in zip(total, shared)] if total else shared
        return total if self.decoder.deep_supervision else total[0]

    def make_modulations(self, num_prompts: int, features: Sequence[int]) -> nn.ModuleList:
        if features[-1] != features[-2]:
            raise ValueError(
                f"the paper's network modulates the last two stages alike, so they need the same channels, got {features[-2:]}"
            )
        return super().make_modulations(num_prompts, features[:-1])

    def stage_modulations(self) -> list[TextModulation]:
        modulations = super().stage_modulations()
        return [*modulations, *modulations[-1:]]

    def decoder_view(self, extra_bottleneck_channels: int) -> SimpleNamespace:
        view = super().decoder_view(extra_bottleneck_channels)
        view.kernel_sizes = [[3] * len(kernel) for kernel in view.kernel_sizes]
        return view


def reading_shares(annotated_classes: Sequence[Sequence[int]], num_tasks: int, num_classes: int) -> Tensor:
    """How much each task counts when a class is read without a task: (T, K), columns add up to 1.

    Raises:
        ValueError: Not one list of classes per task, or a class that no task annotates.
    """
    if len(annotated_classes) != num_tasks:
        raise ValueError(f"one list of annotated classes per task: got {len(annotated_classes)} for {num_tasks} tasks")
    annotated = torch.zeros(num_tasks, num_classes)
    for task, classes in enumerate(annotated_classes):
        annotated[task, list(classes)] = 1
    never = (annotated.sum(0) == 0).nonzero().flatten().tolist()
    if never:
        raise ValueError(f"no task annotates classes {never}, so a forward pass without tasks cannot read them")
    return annotated / annotated.sum(0)
