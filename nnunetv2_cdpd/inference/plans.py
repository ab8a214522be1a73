"""Plans: what plans.json of a model folder has to hold for a prediction, said by key before nnU-Net trips over it."""

from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import read_json
from nnunetv2_cdpd.network.known_classes import check_architecture

_WAY_OUT = "copy it again from where it was trained"
_MOST_SHOWN = 60  # letters of a wrong value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _all(is_right: Callable[[Any], bool], least: int = 1, most: int | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= (most or len(value)) and all(is_right(each) for each in value)
    )


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_order(value: Any) -> bool:
    return isinstance(value, list) and sorted(value, key=str) in ([0, 1], [0, 1, 2])


# Key -> what its value has to be, as a check and in words.
_Kinds = Mapping[str, tuple[Callable[[Any], bool], str]]
_OF_PLANS: _Kinds = {
    "configurations": (lambda value: isinstance(value, dict) and bool(value), "an object of configurations"),
    "image_reader_writer": (_is(str), "the name of a reader"),
    "transpose_forward": (_is_order, "an order of the axes, like [0, 1, 2]"),
    "transpose_backward": (_is_order, "an order of the axes, like [0, 1, 2]"),
    "foreground_intensity_properties_per_channel": (
        lambda value: isinstance(value, dict) and all(map(_is(dict), value.values())),
        "an object with the intensities of each channel",
    ),
}
_OF_CONFIGURATION: _Kinds = {
    "preprocessor_name": (_is(str), "the name of a preprocessor"),
    "patch_size": (_all(lambda size: type(size) is int and size > 0, 2, 3), "2 or 3 whole numbers"),
    "spacing": (_all(lambda mm: _is_number(mm) and 0 < mm < float("inf"), 2, 3), "2 or 3 numbers in mm"),
    "normalization_schemes": (_all(_is(str)), "the name of a normalization for each channel"),
    "use_mask_for_norm": (_all(_is(bool)), "true or false for each channel"),
    "resampling_fn_data": (_is(str), "the name of a function"),
    "resampling_fn_data_kwargs": (_is(dict), "an object"),
    "resampling_fn_probabilities": (_is(str), "the name of a function"),
    "resampling_fn_probabilities_kwargs": (_is(dict), "an object"),
}


def read_plans(path: Path) -> dict[str, Any]:
    """Read the plans of a model.

    Raises:
        UserError: They cannot be read, or an entry for all configurations is missing or of the wrong kind.
    """
    plans = read_json(path)
    if not isinstance(plans, dict):
        raise UserError(f"{path}: cannot be read as JSON of plans; {_WAY_OUT}")
    _check(path, "", plans, _OF_PLANS)
    if not isinstance(plans.get("label_manager", ""), str):
        raise _wrong(path, "label_manager", plans["label_manager"], "the name of a label manager")
    for name, configuration in plans["configurations"].items():
        if not isinstance(configuration, dict):
            raise _wrong(path, name, configuration, "an object")
        if not isinstance(configuration.get("inherits_from", ""), str):
            raise _wrong(path, "inherits_from", configuration["inherits_from"], "the name of a configuration")
    return plans


def check_configuration(path: Path, name: str, configuration: Mapping[str, Any]) -> None:
    """Check a configuration, with all that it inherits.

    Raises:
        UserError: An entry is missing or of the wrong kind, or names a class that is not known.
    """
    _check(path, f" of configuration {name!r}", configuration, _OF_CONFIGURATION)
    lengths = {len(configuration[key]) for key in ("patch_size", "spacing")}
    if len(lengths) > 1:
        raise UserError(f"{path}: `patch_size` and `spacing` of configuration {name!r} have different lengths; {_WAY_OUT}")
    try:
        check_architecture(configuration.get("architecture"))
    except ValueError as error:
        raise UserError(
            f"{path}: `architecture` of configuration {name!r}: {error}; a network of your own predicts with nnUNetv2_predict, "
            "which runs what the plans name"
        ) from error


def _check(path: Path, place: str, content: Mapping[str, Any], kinds: _Kinds) -> None:
    for key, (is_right, wanted) in kinds.items():
        if key not in content:
            raise UserError(f"{path}: `{key}`{place} is missing; {_WAY_OUT}")
        if not is_right(content[key]):
            raise _wrong(path, key, content[key], wanted, place)


def _wrong(path: Path, key: str, value: Any, wanted: str, place: str = "") -> UserError:
    shown = repr(value)
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]} ..."
    return UserError(f"{path}: `{key}`{place} is {shown}, wanted is {wanted}; {_WAY_OUT}")
