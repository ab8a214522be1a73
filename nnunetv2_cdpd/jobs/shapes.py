"""Shapes: what JSON of somebody else has to look like, described as data, and the first place where it does not.

PAIR = record(needed={"name": TEXT, "values": list_of(NUMBER, 2, 2)})
check_shape({"name": "a", "values": [1, "b"]}, PAIR, "my.json", "mend it there")
UserError: my.json: `values: 1` is 'b', not a number; mend it there
"""

import json
import math
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.errors import UserError, is_blank, reason

_MISSING = object()
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 3, 4, 3, 60, 60
Parts = Callable[[Any], Iterable[tuple[Any, Any, "Shape"]]]  # key, value and shape of what a value is made of


@dataclass(frozen=True)
class Shape:
    """words: What a value is, as in "is 5, not WORDS"; parts: of a value that fits."""

    words: str
    fits: Callable[[Any], bool]
    parts: Parts = lambda value: ()


def _number(words: str, least: float = -math.inf, above: float = -math.inf, most: float = math.inf) -> Shape:
    """A finite number within bounds."""
    return Shape(
        words, lambda value: _is_number(value) and math.isfinite(value) and bool(least <= value <= most and above < value)
    )


def number_within(least: float, most: float) -> Shape:
    """A number of an interval."""
    return _number(f"a number from {least:g} to {most:g}", least=least, most=most)


def whole_number(least: int = 0, most: float = math.inf) -> Shape:
    """An integer within bounds."""
    words = f"a whole number from {least} {f'to {most}' if math.isfinite(most) else 'on'}"
    return Shape(words, lambda value: _is_number(value) and isinstance(value, (int, np.integer)) and bool(least <= value <= most))


def list_of(part: Shape, least: int = 0, most: float = math.inf) -> Shape:
    """A list of so many values of a shape."""
    many = "" if math.isinf(most) and not least else f"{least} " if least == most else f"{least} or more "
    many = f"{least} to {most} " if least < most < math.inf else many
    words = f"a list of {many}values, each {part.words}" if many else f"a list, each entry {part.words}"
    return Shape(
        words,
        lambda value: isinstance(value, (list, tuple)) and least <= len(value) <= most,
        lambda value: ((index, entry, part) for index, entry in enumerate(value)),
    )


def map_of(part: Shape, words: str, least: int = 0) -> Shape:
    """An object with any keys, whose values have a shape."""
    return Shape(
        words,
        lambda value: isinstance(value, Mapping) and least <= len(value),
        lambda value: ((key, entry, part) for key, entry in value.items()),
    )


def record(
    needed: Mapping[str, Shape] | None = None, optional: Mapping[str, Shape] | None = None, words: str = "an object"
) -> Shape:
    """An object with these keys; others may be there too."""
    needed, optional = dict(needed or {}), dict(optional or {})
    return Shape(
        words,
        lambda value: isinstance(value, Mapping),
        lambda value: (
            *((key, value.get(key, _MISSING), part) for key, part in needed.items()),
            *((key, value[key], part) for key, part in optional.items() if key in value),
        ),
    )


def none_or(shape: Shape) -> Shape:
    """The shape, or null."""
    return Shape(
        f"{shape.words} or null",
        lambda value: value is None or shape.fits(value),
        lambda value: () if value is None else shape.parts(value),
    )


def one_of(*names: str) -> Shape:
    """A text out of a few."""
    return Shape(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def _is_number(value: Any) -> bool:
    if isinstance(value, int):  # JSON's may be longer than a float can hold
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, (float, np.number))


ANYTHING = Shape("a value", lambda value: True)
TEXT = Shape("a text", lambda value: isinstance(value, str))
NAME = Shape("a text", lambda value: isinstance(value, str) and not is_blank(value))
FLAG = Shape("true or false", lambda value: isinstance(value, (bool, np.bool_)))
NUMBER = _number("a number")
SCORE = Shape("a number, nan or inf", _is_number)
POSITIVE = _number("a number above 0", above=0)
NOT_NEGATIVE = _number("a number from 0 on", least=0)
SHARE = Shape("a number from 0 to below 1", lambda value: _is_number(value) and bool(0 <= value < 1))
OBJECT = map_of(ANYTHING, "an object")


def check_shape(content: Any, shape: Shape, where: str | Path, way_out: str, key: str = "") -> None:
    """Say where content has not its shape: the file, the key, what is there and what is wanted.

    Args:
        where: The file, which begins the message.
        way_out: Ends it.
        key: Of the content itself, within the file.

    Raises:
        UserError: See above.
    """
    found = _first_misfit(content, shape, (key,) if key else ())
    if found is None:
        return
    path, value, wanted = found
    place = f"{where}: `{': '.join(map(str, path))}`" if path else f"{where}:"
    if value is _MISSING:
        raise UserError(f"{place} is missing, {wanted.words}; {way_out}")
    is_there = f"is {shown(value)}" if path else f"holds {shown(value)}"
    raise UserError(f"{place} {is_there}, not {wanted.words}; {way_out}")


def has_shape(content: Any, shape: Shape) -> bool:
    """Whether content has a shape."""
    return _first_misfit(content, shape, ()) is None


def shown(value: Any) -> str:
    """A value in a message, shortened."""
    return " ".join(_SHORT.repr(value).split())


def read_shaped(path: Path, shape: Shape, way_out: str, missing: str | None = None) -> Any:
    """Content of a JSON file that has a shape.

    Args:
        way_out: Ends the message about a file that has not.
        missing: Ends that about one that is not there; None: the same.

    Raises:
        UserError: It is missing, damaged, or of another shape.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {missing or way_out}") from error
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read as JSON (nested too deep); {way_out}") from error
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or reason(error)
        raise UserError(f"{path}: cannot be read as JSON ({told}); {way_out}") from error
    check_shape(content, shape, path, way_out)
    return content


def _first_misfit(value: Any, shape: Shape, path: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any, Shape] | None:
    if value is _MISSING or not shape.fits(value):
        return path, value, shape
    for key, part, its_shape in shape.parts(value):
        if (found := _first_misfit(part, its_shape, (*path, key))) is not None:
            return found
    return None
