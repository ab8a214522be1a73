"""Layers: which stored values of a label map are drawn as which class, and in which colour."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import name_key
from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.pages.palette import colours_of


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

    def seen(self, reference: np.ndarray, prediction: np.ndarray) -> frozenset[str]:
        """Name keys of the classes that occur in a case."""
        pairs = ((self.reference_names, reference), (self.prediction_names, prediction))
        return frozenset(name_key(names[value]) for names, values in pairs for value in np.unique(values) if value in names)


def layers_of(results: Results) -> Layers:
    """Layers of results, with a colour for every class and union that the page may show."""
    sides = results.reference, results.prediction
    regions = [regions_of(side) for side in sides]
    return Layers(
        *regions,
        *(names_by_value(side) for side in sides),
        colours_of((*results.prediction.classes, *regions[1], *regions[0], *results.class_names)),
    )
