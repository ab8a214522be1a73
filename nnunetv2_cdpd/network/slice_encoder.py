"""SliceEncoder: a frozen ViT, such as DINOv2's, that turns the slices of a volume into token grids.

Source: CDPDNet, arXiv 2505.18958, hybrid vision encoders; Oquab et al., DINOv2, arXiv 2304.07193; weights through timm.
What differs from the released code: every slice is seen (neighbours are averaged where the step is larger than 1; the
release drops the last 12 of 96), the image is normalised as the ViT was trained, only the wanted maps are kept, and a CPU
with bfloat16 units runs the ViT in bfloat16 (a third of its time), as autocast does on a GPU in half precision.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunetv2_cdpd.network.coordinates import COORDINATE_CHANNELS
from nnunetv2_cdpd.network.half_weights import HalfWeights
from nnunetv2_cdpd.network.positions import Positions
from nnunetv2_cdpd.network.tracing import is_exported
from nnunetv2_cdpd.network.training_only import LowRankAdapters

GRAY, WINDOWS, NEIGHBOURS = "gray", "windows", "neighbours"
CHANNELS = (GRAY, WINDOWS, NEIGHBOURS)


class SliceEncoder(nn.Module):
    """(B, C, X, Y, Z) patch -> `num_maps` token grids (B, E, S, h, w), of the last blocks or chosen ones, shallow to deep.

    The slice axis comes first in the grids, whatever axis it was; in 2D, (B, C, Y, Z) -> (B, E, h, w). Frozen, unless a trainer
    attaches adapters: no gradients, always in evaluation mode, passed over by `apply` and so by nnU-Net's weight initialisation.
    The buffer `weights_set` tells whether weights were given (or random ones were chosen); it travels with them in a checkpoint.

    Args:
        model_name: timm name of a ViT with patch tokens.
        num_maps: How many maps to return.
        blocks: Numbers of the blocks that are used, 1 for the first, ascending: as many as maps, or a multiple, so that each map
            holds the tokens of several, one after the other; None: the last ones, one a map.
        slice_axis: Spatial axis along which slices are cut; ignored in 2D.
        slice_step: Voxels per slice; the last slice holds fewer where it does not divide the patch.
        slice_scale: Voxels per token along both axes of a slice, which is scaled so before the ViT sees it; None: as many as
            the ViT's patch has pixels, so that a slice keeps its size but for rounding to whole patches.
        channels: What the ViT sees as red, green and blue. "gray": the image, three times (an image of three channels: these);
            "windows": three intensity windows of an image of one channel; "neighbours": the slice before, the slice, the next.
        intensity_windows: (low, high) per image channel in nnU-Net-normalised units, mapped to 0 and 1 for the ViT; with
            "windows" three of the one channel. Channels beyond are no image (a cascade appends one-hot channels) and are not
            shown to it.
        model_kwargs: Further arguments of timm's create_model.
        encoder: Name of the weights, where it is another than timm's (pretrained/encoders.py).
        mean, std: Of the ViT's training images in [0, 1], (3,) each; None: those of timm.
        positions_in_slice: A patch ends with the channels of its coordinates (coordinates.py), and the ViT's position embeddings
            are those at its place in the image's slice; else they lie over the patch, as if it were a slice.

    Raises:
        ValueError: The ViT has fewer blocks than maps are wanted or not the chosen ones, they cannot be shared out evenly, an
            intensity window ends below its start, there are not three where three are wanted, the ViT embeds more than
            patches, or it has no position embeddings that could lie elsewhere.
    """

    allow_bfloat16 = True

    vit: Any  # timm's classes of ViTs have no common one
    vit_patch_size: tuple[int, int]
    token_voxels: tuple[float, float]
    embed_dim: int  # of a map
    window_low: Tensor
    window_width: Tensor
    mean: Tensor
    std: Tensor
    weights_set: Tensor
    adapters: LowRankAdapters | None

    def __init__(
        self,
        model_name: str,
        *,
        num_maps: int,
        slice_axis: int = 0,
        slice_step: int = 1,
        blocks: Sequence[int] | None = None,
        slice_scale: float | None = None,
        channels: str = GRAY,
        intensity_windows: Sequence[Sequence[float]] = ((-3.0, 3.0),),
        model_kwargs: dict[str, Any] | None = None,
        encoder: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        positions_in_slice: bool = False,
    ) -> None:
        super().__init__()
        if channels not in CHANNELS:
            raise ValueError(f"vision `channels` is one of {', '.join(CHANNELS)}, got {channels!r}")
        if channels == WINDOWS and len(intensity_windows) != 3:
            raise ValueError(f"vision `channels` {WINDOWS!r} takes three intensity windows, got {len(intensity_windows)}")
        if slice_scale is not None and not slice_scale > 0:
            raise ValueError(f"vision `slice_scale` is a number of voxels above 0, got {slice_scale}")
        import timm  # seconds to import, and needed by no command that only looks nnU-Net's classes up

        if any(high < low for low, high in intensity_windows):
            raise ValueError(f"an intensity window is (low, high) with low <= high, got {list(intensity_windows)}")
        self.model_name = model_name
        self.weights_name = encoder or model_name
        self.num_maps = num_maps
        self.slice_axis = slice_axis
        self.slice_step = slice_step
        self.vit = timm.create_model(model_name, pretrained=False, num_classes=0, dynamic_img_size=True, **(model_kwargs or {}))
        self.block_indices = chosen_blocks(blocks, num_maps, len(self.vit.blocks), model_name)
        if not isinstance(self.vit.patch_embed, timm.layers.PatchEmbed):
            raise ValueError(f"{model_name} sees more than its patches of an image, so that its tokens have no place")
        if positions_in_slice and (getattr(self.vit, "pos_embed", None) is None or getattr(self.vit, "rope", None) is not None):
            raise ValueError(f"{model_name} has no position embeddings, or further ones; so vision `positions` cannot be 'slice'")
        self.positions = Positions(self.vit) if positions_in_slice else None
        self.half_weights = HalfWeights()
        self.vit_patch_size = self.vit.patch_embed.patch_size
        self.token_voxels = self.vit_patch_size if slice_scale is None else (slice_scale, slice_scale)
        self.channels = channels
        self.image_channels = 1 if channels == WINDOWS else len(intensity_windows)
        self.embed_dim = self.vit.embed_dim * len(self.block_indices) // num_maps
        config = timm.data.resolve_model_data_config(self.vit)
        windows = torch.tensor(intensity_windows)  # (C, 2)
        self.register_buffer("window_low", windows[:, 0], persistent=False)
        self.register_buffer("window_width", (windows[:, 1] - windows[:, 0]).clamp(min=1e-6), persistent=False)
        self.register_buffer("mean", torch.tensor(config["mean"] if mean is None else mean), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"] if std is None else std), persistent=False)
        self.register_buffer("weights_set", torch.tensor(False))
        # not in every PyTorch that nnU-Net accepts; a PyTorch that was told to do without AVX-512 does without its bfloat16 too
        has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
        self.bfloat16_on_cpu = self.allow_bfloat16 and has_bfloat16 and "AVX512" in torch.backends.cpu.get_cpu_capability()
        self.adapters = None
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "SliceEncoder":
        """Stays in evaluation mode."""
        return super().train(False)

    def apply(self, fn: Callable[[nn.Module], None]) -> "SliceEncoder":
        """Does nothing: nnU-Net initialises weights by `network.apply`, which must not reach a pretrained encoder."""
        return self

    def attach_adapters(self, rank: int) -> None:
        """Have the ViT trained by adapters of a rank, beside every linear layer that the wanted maps depend on."""
        called: set[nn.Module] = set()
        linear = [part for part in self.vit.modules() if isinstance(part, nn.Linear)]
        watched = [part.register_forward_hook(lambda layer, *_: called.add(layer)) for part in linear]
        channels = 3 if self.positions is None else 5
        self.token_maps(torch.zeros(1, channels, *(2 * size for size in self.vit_patch_size), device=self.mean.device))
        for handle in watched:
            handle.remove()
        names = {part: name for name, part in self.vit.named_modules()}
        used = {names[part]: part for part in linear if part in called and names[part].startswith("blocks.")}
        self.adapters = LowRankAdapters(used, rank)

    def forward(self, x: Tensor, token_maps: Callable[[Tensor], list[Tensor]] | None = None) -> list[Tensor]:
        """Token grids of a batch.

        Args:
            token_maps: In place of `self.token_maps`, which it may call: for slices whose tokens are known already.
        """
        with torch.set_grad_enabled(self.adapters is not None and torch.is_grad_enabled()):
            return self._grids(x, token_maps or self.token_maps)

    def _grids(self, x: Tensor, token_maps: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        maps = self.maps_of(self.images(x), token_maps)
        if x.ndim == 4:
            return maps
        return [grid.unflatten(0, (x.shape[0], -1)).transpose(1, 2) for grid in maps]  # (B, E, S, h, w)

    def maps_of(self, images: Tensor, token_maps: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Token maps of images, each (N, E, h, w), in the precision that this device is fast in."""
        if self.bfloat16_on_cpu and images.device.type == "cpu" and images.dtype == torch.float32:
            with torch.autocast("cpu", torch.bfloat16):
                return [grid.float() for grid in self.half_weights.call(self.vit, token_maps, images)]
        return self.half_weights.call(self.vit, token_maps, images)

    def images(self, x: Tensor) -> Tensor:
        """Slices as the ViT was trained to see images: (B, C, X, Y, Z) -> RGB (B * S, 3, H, W).

        With positions in the slice, two channels more: where in its slice the token of each pixel lies, along both axes.
        """
        images = self.as_images(self.slices(x))
        if self.positions is None:
            return images
        places = self._places(x, [length // patch for length, patch in zip(images.shape[2:], self.vit_patch_size)])
        pixels = functional.interpolate(places, size=images.shape[2:], mode="nearest-exact")
        return torch.cat([images, pixels.to(images.dtype)], 1)

    def _places(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(B, C, X, Y, Z) -> (B * S, 2, *size): coordinates at the middles of tokens along the axes of their slice."""
        axis = self.slice_axis if x.ndim == 5 else 0
        places = x[:, [channel - COORDINATE_CHANNELS for channel in range(COORDINATE_CHANNELS) if channel != axis]]
        places = self._stack(places).transpose(1, 2).flatten(0, 1) if x.ndim == 5 else places
        return functional.interpolate(places, size=size, mode="bilinear", align_corners=False)

    def _stack(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, C, S, H, W), each slice the mean of `slice_step`."""
        x = x.movedim(2 + self.slice_axis, 2)
        return means_of_slices(x, math.ceil(x.shape[2] / self.slice_step)) if self.slice_step > 1 else x

    def slices(self, x: Tensor) -> Tensor:
        """Slices at the size that they have, in [0, 1]: (B, C, X, Y, Z) -> (B * S, 1 or 3, Y, Z)."""
        channels = len(self.window_low)
        shape = (1, channels, *[1] * (x.ndim - 2))
        # A volume stays where it is, of which some slices at a time go to the encoder (whole_slices.py).
        low, width = (each.view(shape).to(x.device) for each in (self.window_low, self.window_width))
        x = (x[:, : self.image_channels] - low) / width
        x = x.clamp(0, 1)
        if x.ndim == 5:
            x = self._stack(x)
            if self.channels == NEIGHBOURS:
                x = with_neighbours(x.mean(1, keepdim=True))
            x = x.transpose(1, 2).flatten(0, 1)  # (B * S, C, H, W)
        return x if x.shape[1] in (1, 3) else x.mean(1, keepdim=True)

    def as_images(self, x: Tensor) -> Tensor:
        """Slices (N, 1 or 3, Y, Z) at the size and with the statistics that the ViT takes: RGB (N, 3, H, W)."""
        x = functional.interpolate(x, size=self.image_size(x.shape[2:]), mode="bilinear", align_corners=False)
        return self.normalised(x.expand(-1, 3, -1, -1))

    def image_size(self, size: Sequence[int]) -> list[int]:
        """Height and width that the ViT sees of a slice: the nearest whole number of its patches, at least one."""
        return [
            max(1, round(length / voxels)) * patch for length, voxels, patch in zip(size, self.token_voxels, self.vit_patch_size)
        ]

    def grid_size(self, size: Sequence[int]) -> list[int]:
        """Tokens of a patch of a size: (S, h, w), (h, w) in 2D."""
        plane = list(size)
        slices = [math.ceil(plane.pop(self.slice_axis) / self.slice_step)] if len(plane) == 3 else []
        return [*slices, *(length // patch for length, patch in zip(self.image_size(plane), self.vit_patch_size))]

    def normalised(self, x: Tensor) -> Tensor:
        """Images in [0, 1] by the statistics of the ViT's training images."""
        return (x - self.mean.view(1, 3, 1, 1)) / self.std.view(1, 3, 1, 1)

    def token_maps(self, images: Tensor) -> list[Tensor]:
        """Images as `images` gives them, (N, 3 or 5, H, W) -> maps of patch tokens, (N, E, h, w) each."""
        if self.positions is not None:
            self.positions.places = images[:, 3:]
        tokens = self.vit.forward_intermediates(
            images[:, :3], indices=self.block_indices, norm=True, output_fmt="NCHW", intermediates_only=True, stop_early=True
        )
        if self.positions is not None:
            self.positions.places = None
        each = len(tokens) // self.num_maps
        return tokens if each == 1 else [torch.cat(tokens[i : i + each], 1) for i in range(0, len(tokens), each)]


def chosen_blocks(blocks: Sequence[int] | None, num_maps: int, depth: int, model_name: str) -> list[int]:
    """Indices, 0 for the first, of the blocks that are used; see SliceEncoder."""
    if blocks is None:
        if num_maps > depth:
            raise ValueError(f"{num_maps} token maps need as many ViT blocks, and {model_name} has {depth}")
        return list(range(depth - num_maps, depth))
    if list(blocks) != sorted(set(blocks) & set(range(1, depth + 1))):
        raise ValueError(f"vision `blocks` are of 1 ... {depth} of {model_name}, ascending, got {list(blocks)}")
    if not blocks or len(blocks) % num_maps:
        raise ValueError(f"vision `blocks` are shared out to {num_maps} fused stages evenly, got {len(blocks)}")
    return [block - 1 for block in blocks]


def with_neighbours(x: Tensor) -> Tensor:
    """(B, 1, S, H, W) -> (B, 3, S, H, W): the slice before, the slice, the next; beyond the ends they are the end's own."""
    return torch.cat([torch.cat([x[:, :, :1], x[:, :, :-1]], 2), x, torch.cat([x[:, :, 1:], x[:, :, -1:]], 2)], 1)


def means_of_slices(x: Tensor, count: int) -> Tensor:
    """(B, C, S, H, W) -> (B, C, count, H, W); where the count does not divide the slices, means of groups of even size."""
    if not is_exported():
        return functional.adaptive_avg_pool3d(x, (count, None, None))
    length = x.shape[2]  # ONNX has no such pooling, but products
    shares = torch.zeros(count, length)
    for row in range(count):
        first, stop = row * length // count, math.ceil((row + 1) * length / count)
        shares[row, first:stop] = 1 / (stop - first)
    return torch.einsum("ts,bcshw->bcthw", shares, x)
