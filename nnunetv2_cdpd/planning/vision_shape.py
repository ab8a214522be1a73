"""The `vision` entry of plans: what it may hold, whoever wrote it: a planner, a trainer's recipe or the user."""

import inspect
from collections.abc import Mapping
from typing import Any

from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs.shapes import (
    FLAG,
    NAME,
    NOT_NEGATIVE,
    NUMBER,
    OBJECT,
    POSITIVE,
    SHARE,
    list_of,
    none_or,
    one_of,
    record,
    whole_number,
)
from nnunetv2_cdpd.network.slice_encoder import CHANNELS
from nnunetv2_cdpd.network.vision_settings import FUSIONS, GATES, POSITIONS, SOURCES, split_vision
from nnunetv2_cdpd.pretrained.encoders import ENCODERS

_ENTRIES = {
    "encoder": NAME,
    "mean": list_of(NUMBER, 3, 3),
    "std": list_of(POSITIVE, 3, 3),
    "model_kwargs": none_or(OBJECT),
    "slice_axis": whole_number(0, 2),
    "slice_step": whole_number(1),
    "intensity_windows": list_of(list_of(NUMBER, 2, 2), 1),
    "blocks": none_or(list_of(whole_number(1), 1)),
    "slice_scale": none_or(POSITIVE),
    "channels": one_of(*CHANNELS),
    "source": one_of(*SOURCES),
    "fusion": one_of(*FUSIONS),
    "gate": one_of(*GATES),
    "positions": one_of(*POSITIONS),
    "token_dropout": SHARE,
    "guide": NOT_NEGATIVE,
    "whole_slices": FLAG,
    "adapters": whole_number(),
}
VISION = record({"model_name": NAME}, _ENTRIES)


def check_vision(vision: Mapping[str, Any], place: str, way_out: str) -> None:
    """Check what the shape does not tell: names, and what goes with what.

    The ViT has to be of timm's own list, which is built without files: of create_model's own arguments some name a file to load.

    Args:
        vision: Of the shape VISION.
        place: Begins a message, up to the key of the entry, behind which comes a `.
        way_out: Ends it.

    Raises:
        UserError: See above.
    """
    import timm

    if unknown := sorted(set(vision) - {"model_name", *_ENTRIES}):
        raise UserError(f"{place}` has {listed(unknown)}, which is no setting ({', '.join(sorted(_ENTRIES))} are); {way_out}")
    try:
        split_vision(vision)
    except ValueError as error:
        raise UserError(f"{place}`: {error}; {way_out}") from error
    name = vision["model_name"]
    if not timm.is_model(name.split(".")[0]):
        raise UserError(f"{place}: model_name` is {name[:80]!r}, no model of timm; {way_out}")
    encoder = vision.get("encoder")
    if encoder is not None and not {"mean", "std"} <= set(vision):
        raise UserError(f"{place}: encoder` is {encoder[:80]!r}, whose `mean` and `std` are missing; {way_out}")
    if encoder in ENCODERS and name != ENCODERS[encoder].model_name:
        raise UserError(
            f"{place}: encoder` is {encoder!r}, a {ENCODERS[encoder].model_name}, and `model_name` is {name[:80]!r}; {way_out}"
        )
    own = inspect.signature(timm.create_model).parameters
    if refused := [key for key in vision.get("model_kwargs") or {} if key in own]:
        raise UserError(f"{place}: model_kwargs` has {listed(refused)}, which plans may not choose; {way_out}")
