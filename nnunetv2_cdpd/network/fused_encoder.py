"""FusedEncoder: nnU-Net's encoder, of which some stages are fused with tokens; the upper half of CDPDNet's figure.

    x ─┬─ encoder stage ── ... ── stage ── fusion ── ... ── bottleneck
       └─ tokens: of a frozen ViT on slices, or of coordinates alone ─ token adaptor ──┘

Source: CDPDNet, arXiv 2505.18958. What differs from the released network is told in each part's file; what tokens are and what
they may say is a setting (vision_settings.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from torch import Tensor, nn

from nnunetv2_cdpd.network.coordinates import COORDINATE_CHANNELS, CoordinateTokens
from nnunetv2_cdpd.network.fusion import make_fusion
from nnunetv2_cdpd.network.slice_encoder import NEIGHBOURS, WINDOWS, SliceEncoder
from nnunetv2_cdpd.network.token_adaptor import TokenAdaptor
from nnunetv2_cdpd.network.training_only import Guide, TrainingOnly
from nnunetv2_cdpd.network.vision_settings import COORDINATES, SLICE, split_vision
from nnunetv2_cdpd.network.whole_slices import VolumeTokens, volume_tokens

TokenMaps = Callable[[Tensor], list[Tensor]]


class FusedEncoder(nn.Module):
    """(B, C, X, Y(, Z)) patch -> features of every stage, finest first.

    Where tokens depend on coordinates, the patch has three channels more, the last ones (coordinates.py).

    Args:
        encoder: nnU-Net's.
        input_channels: C.
        dim: 2 or 3 spatial axes.
        fused_stages: Stages that receive tokens, ascending.
        vision: Entry of the plans; None: no tokens.

    Raises:
        ValueError: A stage cannot be fused, or a setting is none.
    """

    slice_encoder_class: type[SliceEncoder] = SliceEncoder
    adaptor_class: type[nn.Module] = TokenAdaptor

    encoder: PlainConvEncoder | ResidualEncoder
    slice_encoder: SliceEncoder | None
    coordinate_tokens: CoordinateTokens | None
    guide: Guide | None
    volume: VolumeTokens | None

    def __init__(
        self, encoder: nn.Module, input_channels: int, dim: int, fused_stages: Sequence[int], vision: Mapping[str, Any] | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.input_channels = input_channels
        features = self.encoder.output_channels
        if list(fused_stages) != sorted(set(fused_stages) & set(range(len(features)))):
            raise ValueError(f"fused stages must be of 0 ... {len(features) - 1}, ascending, got {list(fused_stages)}")
        self.slice_encoder = self.coordinate_tokens = self.guide = self.volume = None
        self.adaptors, self.fusions = nn.ModuleDict(), nn.ModuleDict()
        self.vision, kwargs = split_vision(vision or {})
        if vision is None or not fused_stages:
            return
        _check_images(kwargs, input_channels, dim)
        if dim == 2:  # whose slices are those of the image
            kwargs |= {"slice_axis": 0, "slice_step": 1}
        tokens = self._make_tokens(kwargs, len(fused_stages))
        for stage in fused_stages:
            self.adaptors[str(stage)] = self.adaptor_class(tokens.embed_dim, features[stage], dim, tokens.slice_axis)
            self.fusions[str(stage)] = self.make_fusion(features[stage], dim)

    def _make_tokens(self, kwargs: Mapping[str, Any], num_maps: int) -> SliceEncoder | CoordinateTokens:
        if self.vision.source == COORDINATES:
            own = {key: kwargs[key] for key in ("slice_axis", "slice_step", "slice_scale") if key in kwargs}
            self.coordinate_tokens = CoordinateTokens(num_maps=num_maps, **own)
            return self.coordinate_tokens
        placed = self.vision.positions == SLICE
        self.slice_encoder = self.slice_encoder_class(num_maps=num_maps, positions_in_slice=placed, **kwargs)
        if self.vision.whole_slices:
            self.volume = VolumeTokens()
        return self.slice_encoder

    def make_fusion(self, channels: int, dim: int) -> nn.Module:
        """Of one stage."""
        return make_fusion(channels, dim, self.vision.fusion, self.vision.gate)

    @property
    def needs_coordinates(self) -> bool:
        """Whether patches come with the channels of their coordinates."""
        return bool(self.fusions) and self.vision.of_coordinates

    def show(self, image: Tensor) -> None:
        """Compute the tokens of whole slices of an image (C, X, Y, Z), of which windows are seen next."""
        assert self.slice_encoder is not None and self.volume is not None, "a network of whole slices"
        self.volume.tokens = volume_tokens(self.slice_encoder, image)

    def token_grids(self, x: Tensor, token_maps: TokenMaps | None = None, tokens: Tensor | None = None) -> list[Tensor]:
        """Tokens for each fused stage, finest stage first; none without vision.

        Args:
            token_maps: See SliceEncoder.
            tokens: Those of whole slices at the coordinates of each patch, (B, maps, E, S, h, w), where x does not tell them.
        """
        if self.coordinate_tokens is not None:
            return self.coordinate_tokens(self._coordinates_of(x))
        if self.slice_encoder is None:
            return []
        if self.volume is None:
            if self.needs_coordinates:
                self._coordinates_of(x)  # which it tells, or is refused
            return self.slice_encoder(x, token_maps)
        if tokens is None:
            axis, coordinates = self.slice_encoder.slice_axis, self._coordinates_of(x)
            tokens = self.volume.of_windows(coordinates, self.slice_encoder.grid_size(x.shape[2:]), axis if x.ndim == 5 else 0)
        return list(tokens.to(x.dtype).unbind(1))

    def encode(self, x: Tensor, token_grids: Sequence[Tensor]) -> list[Tensor]:
        """Encoder stages, finest first; a fused stage replaces its features for the skip and for the next stage."""
        return self.encode_and_adapt(x, token_grids)[0]

    def encode_and_adapt(self, x: Tensor, token_grids: Sequence[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The same, and the tokens of each fused stage at its size and with its channels."""
        tokens = dict(zip(self.fusions, self.some_dropped(token_grids)))
        x = x[:, : self.input_channels] if self.needs_coordinates else x
        stem = getattr(self.encoder, "stem", None)
        x = x if stem is None else stem(x)
        skips, adapted = [], {}
        for index, stage in enumerate(self.encoder.stages):
            x = stage(x)
            if str(index) in tokens:
                y = adapted[str(index)] = self.adaptors[str(index)](tokens[str(index)], x.shape[2:])
                x = self.fusions[str(index)](x, y)
            skips.append(x)
        return skips, adapted

    def attach_training_parts(self, num_classes: int) -> dict[str, TrainingOnly]:
        """Make what the settings want for training, and no saved model holds; by name, for the trainer to keep."""
        parts: dict[str, TrainingOnly] = {}
        if self.vision.guide and self.fusions:
            features = self.encoder.output_channels
            device = next(self.encoder.parameters()).device
            parts["guide"] = self.guide = Guide({stage: features[int(stage)] for stage in self.fusions}, num_classes).to(device)
        if self.vision.adapters and self.slice_encoder is not None:
            self.slice_encoder.attach_adapters(self.vision.adapters)
            assert self.slice_encoder.adapters is not None
            parts["adapters"] = self.slice_encoder.adapters
        return parts

    def guided(self, logits: Tensor | list[Tensor], adapted: Mapping[str, Tensor]) -> Tensor | list[Tensor]:
        """In training with a guide, a list of the logits, then those of the tokens alone; else the logits."""
        if self.guide is None or not self.training:
            return logits
        return [*([logits] if isinstance(logits, Tensor) else logits), *self.guide(adapted)]

    def some_dropped(self, token_grids: Sequence[Tensor]) -> Sequence[Tensor]:
        """The grids, in training some tokens of them zero, at the same places of all; each grid (B, E, ...)."""
        share = self.vision.token_dropout
        if not (self.training and share and token_grids):
            return token_grids
        first = token_grids[0]
        kept = torch.rand(first.shape[:1] + (1,) + first.shape[2:], device=first.device) >= share
        return [grid * kept for grid in token_grids]

    def _coordinates_of(self, x: Tensor) -> Tensor:
        shown = self.volume is None or self.volume.tokens is not None
        if not shown or x.shape[1] != self.input_channels + COORDINATE_CHANNELS:
            raise ValueError(
                "the tokens of this network depend on the patch's place in the image, which this patch does not tell: "
                "`cdpd predict` does, nnUNetv2_predict cannot"
            )
        return x[:, self.input_channels :]


def _check_images(kwargs: Mapping[str, Any], input_channels: int, dim: int) -> None:
    channels, windows = kwargs.get("channels"), kwargs.get("intensity_windows", ())
    if channels != WINDOWS and len(windows) > input_channels:
        raise ValueError(f"one intensity window per image channel: got {len(windows)} for {input_channels} channels")
    if channels == NEIGHBOURS and dim == 2:
        raise ValueError(f"vision `channels` {NEIGHBOURS!r} needs patches of several slices, and these are 2D")
