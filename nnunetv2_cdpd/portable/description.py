"""Description: what an exported model says of itself, as JSON in its metadata: preprocessing, windows, decoding.

docs/onnx.md explains the entries for readers in other languages.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import CycleError
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable.rivalry import Rivalry
from nnunetv2_cdpd.volumes.axes import ResamplingRule
from nnunetv2_cdpd.volumes.splines import MAX_ORDER

KEY = "cdpd"  # of the description among a model's metadata
FORMAT = 1  # what this version writes, and the newest that it reads
INPUT, OUTPUT = "image", "logits"  # names in the graph
CT = "CTNormalization"
SCHEMES = (CT, "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization")  # nnU-Net's
CT_NUMBERS = ("mean", "std", "percentile_00_5", "percentile_99_5")
_LONGEST = 4096  # voxels of a window along an axis, and classes


@dataclass(frozen=True)
class Normalization:
    """scheme: One of `SCHEMES`. use_mask: Leave out what is zero around the body. numbers: Of `CT_NUMBERS`; else none."""

    scheme: str
    use_mask: bool
    numbers: dict[str, float]


@dataclass(frozen=True)
class Description:
    """made_by: Which version wrote it.
    about: The model that was exported: its name, folds, task, digest of its weights; for people.
    channels: Names of the images of a case.
    reorient: Whether images are turned to the right-anterior-superior axes that are nearest, before anything else.
    transpose: Axis of the image (z, y, x) that each axis of the network is.
    spacing: Of the network, in its order of axes, in mm; two numbers for a network of slices.
    normalizations: Of each channel.
    image_rule: How images are resampled.
    patch_size: Voxels of a window.
    mirror_axes: Axes of a window whose mirrored images may be averaged, all combinations of them.
    logits_rule: How logits are resampled to the image.
    classes: Name of each class that is written -> its value.
    outputs: Name of the class of each channel of the logits.
    stored: What is written where no channel, the first, the second, ... has won.
    rivalry: Which channels compete.
    """

    made_by: str
    about: dict[str, Any]
    channels: tuple[str, ...]
    reorient: bool
    transpose: tuple[int, ...]
    spacing: tuple[float, ...]
    normalizations: tuple[Normalization, ...]
    image_rule: ResamplingRule
    patch_size: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    logits_rule: ResamplingRule
    classes: dict[str, int]
    outputs: tuple[str, ...]
    stored: tuple[int, ...]
    rivalry: Rivalry

    def to_json(self) -> str:
        rivals = [{"parent": parent, "channels": list(found)} for parent, found in self.rivalry.rivals.items()]
        content = {
            "format": FORMAT,
            "made_by": self.made_by,
            "about": self.about,
            "image": {"channels": self.channels, "reorient": self.reorient},
            "preprocessing": {
                "transpose": self.transpose,
                "spacing": self.spacing,
                "normalization": [
                    {"scheme": each.scheme, "use_mask": each.use_mask, **each.numbers} for each in self.normalizations
                ],
                "resampling": vars(self.image_rule),
            },
            "windows": {"patch_size": self.patch_size, "mirror_axes": self.mirror_axes},
            "decoding": {
                "resampling": vars(self.logits_rule),
                "outputs": self.outputs,
                "rivals": rivals,
                "stored": self.stored,
                "classes": self.classes,
            },
        }
        return json.dumps(content, indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> "Description":
        """Args:
            where: Begins messages.

        Raises:
            UserError: It is none, of a newer version, or contradicts itself.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: its description is damaged (no JSON); export the model again") from error
        read = _Entries(content, where)
        version = read("format", "a whole number", lambda value: _is_whole(value, 1))
        if version > FORMAT:
            made_by = str(content.get("made_by"))[:80]
            raise UserError(
                f"{where}: a model of {made_by}, whose description is of format {version}; this runner reads up to {FORMAT}; "
                "take the runner of that version"
            )
        return _description(read)


class _Entries:
    """Entries of a description, each checked when it is read; a dot leads into an object."""

    def __init__(self, content: Any, where: str) -> None:
        self.content = content
        self.where = where

    def __call__(self, key: str, what: str, suits: Callable[[Any], bool]) -> Any:
        value = self.content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        self.check(suits(value), f"`{key}` is to be {what}, and is {json.dumps(value)[:60]}")
        return value

    def check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise UserError(f"{self.where}: its description is damaged ({otherwise}); export the model again")

    def rule(self, key: str, most: int) -> ResamplingRule:
        order, order_z = (
            self(f"{key}.{name}", f"0 to {most}", lambda value: _is_whole(value, 0) and value <= most)
            for name in ("order", "order_z")
        )
        force = self(f"{key}.force_separate_z", "true, false or null", lambda value: value is None or isinstance(value, bool))
        return ResamplingRule(order, order_z, force, self(f"{key}.threshold", "a positive number", _is_positive))


def _description(read: _Entries) -> Description:
    channels = read("image.channels", "a list of names", lambda value: _is_list(value, _is_text, 1))
    patch_size = read("windows.patch_size", "two or three lengths", lambda value: _is_list(value, _is_length, 2, 3))
    dim, outputs = (
        len(patch_size),
        read("decoding.outputs", "a list of names", lambda value: _is_list(value, _is_text, 1, _LONGEST)),
    )
    schemes = read(
        "preprocessing.normalization", "an object per channel", lambda value: _is_list(value, _is_object, len(channels))
    )
    read.check(len(schemes) == len(channels), f"{len(schemes)} normalizations for {len(channels)} channels")
    count = len(outputs) + 1
    stored = read("decoding.stored", f"{count} values, 0 first", lambda value: _is_list(value, _is_stored, count, count))
    read.check(stored[0] == 0, "`decoding.stored` does not begin with 0")
    logits_rule = read.rule("decoding.resampling", 1)
    read.check(logits_rule.order == 1, "logits are resampled linearly")
    return Description(
        made_by=read("made_by", "a text", _is_text),
        about=read("about", "an object", _is_object),
        channels=tuple(channels),
        reorient=read("image.reorient", "true or false", lambda value: isinstance(value, bool)),
        transpose=tuple(read("preprocessing.transpose", "0, 1 and 2 in some order", _is_permutation)),
        spacing=tuple(read("preprocessing.spacing", f"{dim} lengths", lambda value: _is_list(value, _is_positive, dim, dim))),
        normalizations=tuple(_normalization(_Entries(each, read.where)) for each in schemes),
        image_rule=read.rule("preprocessing.resampling", MAX_ORDER),
        patch_size=tuple(patch_size),
        mirror_axes=tuple(
            read(
                "windows.mirror_axes",
                f"some of {dim} axes",
                lambda value: _is_list(value, _is_whole) and {*value} <= {*range(dim)},
            )
        ),
        logits_rule=logits_rule,
        classes=read(
            "decoding.classes", "an object of values", lambda value: _is_object(value) and _is_list([*value.values()], _is_stored)
        ),
        outputs=tuple(outputs),
        stored=tuple(stored),
        rivalry=_rivalry(read, len(outputs)),
    )


def _normalization(read: _Entries) -> Normalization:
    scheme = read("scheme", f"one of {', '.join(SCHEMES)}", lambda value: value in SCHEMES)
    use_mask = read("use_mask", "true or false", lambda value: isinstance(value, bool))
    numbers = {name: read(name, "a number", _is_number) for name in (CT_NUMBERS if scheme == CT else ())}
    return Normalization(scheme, use_mask, numbers)


def _rivalry(read: _Entries, count: int) -> Rivalry:
    rivals: dict[int | None, tuple[int, ...]] = {}
    for each in read("decoding.rivals", "a list of objects", lambda value: _is_list(value, _is_object)):
        parent, channels = each.get("parent"), each.get("channels")
        known = _is_list(channels, lambda k: _is_whole(k) and k < count) and channels == sorted({*channels})
        known = known and (parent is None or (_is_whole(parent) and parent < count)) and parent not in rivals
        read.check(known, f"`decoding.rivals` has {json.dumps(each)[:60]}")
        rivals[parent] = tuple(channels)
    read.check(None in rivals, "`decoding.rivals` has none without a parent")
    rivalry = Rivalry(rivals)
    try:
        _ = rivalry.outer_to_inner
    except CycleError:
        read.check(False, "in `decoding.rivals` a class holds itself")
    return rivalry


def _is_list(value: Any, suits: Callable[[Any], bool], least: int = 0, most: float = math.inf) -> bool:
    return isinstance(value, list) and least <= len(value) <= most and all(map(suits, value))


def _is_permutation(value: Any) -> bool:
    return _is_list(value, _is_whole) and sorted(value) == [0, 1, 2]


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_length(value: Any) -> bool:
    return _is_whole(value, 1) and value <= _LONGEST


def _is_stored(value: Any) -> bool:
    return _is_whole(value) and value <= 65535
