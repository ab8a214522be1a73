"""Layers: which stored values of a label map are drawn as which class, and in which colour."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.pages.pictures import PANEL_PIXELS, PlanePicture


def regions_of(annotation: Annotation) -> dict[str, tuple[int, ...]]:
    """Class or merged label -> its stored values, nested ones included; outer classes first."""
    by_size = sorted(zip(annotation.classes, annotation.regions), key=lambda entry: -len(entry[1]))
    return dict(by_size) | {label.name: (label.value,) for label in annotation.merged_labels}


def names_by_value(annotation: Annotation) -> dict[int, str]:
    """Stored value -> the class or merged label that it is of; of nested classes the innermost."""
    by_size = sorted(zip(annotation.classes, annotation.values, annotation.regions), key=lambda entry: -len(entry[2]))
    return {value: name for name, value, _ in by_size} | {label.value: label.name for label in annotation.merged_labels}


@dataclass(frozen=True)
class Layers:
    """What is drawn of the references and the predictions of some results, each by its own labels.

    reference, prediction: Class or merged label -> stored values, outer first.
    reference_names, prediction_names: Stored value -> innermost class or merged label.
    colours: Class name key -> "#rrggbb".
    """

    reference: Mapping[str, tuple[int, ...]]
    prediction: Mapping[str, tuple[int, ...]]
    reference_names: Mapping[int, str]
    prediction_names: Mapping[int, str]
    colours: Mapping[str, str]

    @cached_property
    def indices(self) -> dict[str, int]:
        """Class name key -> number of the class on the page, from 1."""
        return {key: index for index, key in enumerate(self.colours, start=1)}

    def colour(self, name: str) -> str:
        return self.colours[name_key(name)]

    def index(self, name: str) -> int:
        return self.indices[name_key(name)]

    @property
    def numbered_colours(self) -> list[tuple[int, str]]:
        """Number and colour of every class on the page."""
        return [(self.indices[key], colour) for key, colour in self.colours.items()]

    def contours(self, paths: Mapping[str, str]) -> list[dict[str, Any]]:
        """Class -> path data, as parts.html draws it."""
        return [{"index": self.index(name), "name": name, "path": path} for name, path in paths.items()]

    def plane(self, picture: PlanePicture, of: str, anchor: str = "") -> dict[str, Any]:
        """A picture as the templates draw it."""
        return {
            "plane": picture.plane,
            "anchor": anchor,
            "of": f"{of}, {picture.plane} slice {picture.slice_number}",
            "caption": f"{picture.plane}, slice {picture.slice_number} of {picture.num_slices}",
            "width": picture.width,
            "height": picture.height,
            "share": f"{100 * picture.width / PANEL_PIXELS:.1f}",
            "image": picture.image,
            "reference": self.contours(picture.reference),
            "prediction": self.contours(picture.prediction),
        }

    def seen(self, reference: np.ndarray, prediction: np.ndarray) -> frozenset[str]:
        """Name keys of the classes that occur in a case."""
        pairs = ((self.reference_names, reference), (self.prediction_names, prediction))
        return frozenset(name_key(names[value]) for names, values in pairs for value in np.unique(values) if value in names)
