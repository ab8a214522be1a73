"""VisionSettings: how a network uses vision tokens, beside what its slice encoder sees; a part of the `vision` entry of plans.

Defaults are the network as plans without these entries have it. docs/training.md has the table for users.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

VIT, COORDINATES = "vit", "coordinates"
SOURCES = (VIT, COORDINATES)
QUERIES, VALUES, BOTH, SUM = "queries", "values", "both", "sum"
FUSIONS = (QUERIES, VALUES, BOTH, SUM)
BLOCKS, CLOSED, OPEN = "blocks", "closed", "open"
GATES = (BLOCKS, CLOSED, OPEN)
PATCH, SLICE = "patch", "slice"
POSITIONS = (PATCH, SLICE)


@dataclass(frozen=True)
class VisionSettings:
    """What plans may say of tokens.

    source: "vit", or "coordinates": in place of tokens nothing but the coordinates in the image, a control.
    fusion: What tokens may say to a stage. "queries": they ask, the stage's features answer (the paper); "values": features
        ask, tokens answer; "both": the first block the one way, the second the other; "sum": no attention, a linear layer of
        the tokens is added.
    gate: What starts at zero. "blocks": what every block (or the sum) adds, though not the norm after the blocks; "closed": the
        whole fusion, so that the network begins as its U-Net alone; "open": nothing.
    positions: Where a ViT's position embeddings lie. "patch": over the patch, as if it were a whole slice; "slice": over the
        slice of the image, so that those of a patch are the ones at its place.
    token_dropout: Share of tokens that are set to zero in training, at the same places for all stages; 0 ... below 1.
    guide: Weight of the loss of heads on the tokens alone, which are there in training only; 0: none.
    whole_slices: Tokens are of whole slices of the image, computed once for a volume, not of the patch (whole_slices.py).
    adapters: Rank of what is trained beside each linear layer of the ViT, and merged into it in saved models; 0: it is frozen.
    """

    source: str = VIT
    fusion: str = QUERIES
    gate: str = BLOCKS
    positions: str = PATCH
    token_dropout: float = 0.0
    guide: float = 0.0
    whole_slices: bool = False
    adapters: int = 0

    def __post_init__(self) -> None:
        for name, known in (("source", SOURCES), ("fusion", FUSIONS), ("gate", GATES), ("positions", POSITIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"vision `{name}` is one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"vision `token_dropout` is a share from 0 to below 1, got {self.token_dropout}")
        if self.guide < 0 or self.adapters < 0:
            raise ValueError(f"vision `guide` and `adapters` are 0 or more, got {self.guide} and {self.adapters}")
        if (self.adapters or self.whole_slices) and self.source != VIT:
            raise ValueError(f"vision `adapters` and `whole_slices` are of a ViT, and `source` is {self.source!r}")
        if self.positions == SLICE and (self.whole_slices or self.source != VIT):
            raise ValueError("vision `positions` 'slice' is for a ViT that sees patches; with `whole_slices` they lie so anyway")
        if self.adapters and self.whole_slices:
            raise ValueError("vision `adapters` change the tokens at every step, and those of `whole_slices` are computed once")

    @property
    def of_coordinates(self) -> bool:
        """Whether tokens depend on where in the image a patch lies."""
        return self.source == COORDINATES or self.whole_slices or self.positions == SLICE


def split_vision(vision: Mapping[str, Any]) -> tuple[VisionSettings, dict[str, Any]]:
    """The settings in a `vision` entry, and the rest, which are arguments of the slice encoder.

    Raises:
        ValueError: A setting has a value that it cannot have.
    """
    own = {entry.name for entry in fields(VisionSettings)}
    settings = VisionSettings(**{key: value for key, value in vision.items() if key in own})
    return settings, {key: value for key, value in vision.items() if key not in own}


def needs_coordinates(arch_kwargs: Mapping[str, Any]) -> bool:
    """Whether the patches of a network with these arguments tell their coordinates in the image (coordinates.py)."""
    vision = arch_kwargs["vision"]
    return bool(vision and arch_kwargs["fused_stages"]) and split_vision(vision)[0].of_coordinates
