"""Palette: one colour for each class, the same wherever the class is drawn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from nnunetv2_cdpd.classes import ClassKey, class_key

# Each colour but the first seven, which are chosen by eye, lies as far as possible from those before it (CIELAB, lightness
# weighted 0.6), among colours bright and saturated enough to show on a grey CT slice.
COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#ffa6de", "#00ff00", "#6f6421",
    "#6437ff", "#00ffde", "#b1f42c", "#ff169b", "#ff0000", "#bc6459", "#2c7abc", "#dee97a", "#0b7a59", "#9b43b1",
    "#ffc87a", "#b1f4b1", "#0bff6f", "#bc376f", "#7a599b", "#436f0b", "#de9b00", "#c800ff", "#9b64ff", "#c82c16",
    "#00ffa6", "#ff6fd3", "#905900", "#7aa600", "#37bc00", "#9b9000", "#43c8bc", "#b1b1ff", "#d39bff", "#0059ff",
)  # fmt: skip


@dataclass(frozen=True)
class Palette:
    """The classes of a page.

    colours: Class name key -> colour as "#rrggbb".
    """

    colours: Mapping[ClassKey, str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Palette":
        """Of class names, by whatever names; more than 40 classes share colours."""
        keys = dict.fromkeys(map(class_key, names))
        return cls({key: COLOURS[index % len(COLOURS)] for index, key in enumerate(keys)})

    @cached_property
    def indices(self) -> dict[ClassKey, int]:
        """Key of a class -> number of the class on the page, from 1."""
        return {key: index for index, key in enumerate(self.colours, start=1)}

    def colour(self, name: str) -> str:
        return self.colours[class_key(name)]

    def index(self, name: str) -> int:
        return self.indices[class_key(name)]
