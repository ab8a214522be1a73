"""Layers: which stored values of a label map are drawn as which class, and in which colour."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import ClassKey, class_key
from nnunetv2_cdpd.datasets.label_maps import distinct
from nnunetv2_cdpd.pages.palette import Palette


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
    """What is drawn of references and predictions, each by its own labels.

    reference, prediction: Class or merged label -> stored values, outer first.
    reference_names, prediction_names: Stored value -> innermost class or merged label.
    """

    reference: Mapping[str, tuple[int, ...]]
    prediction: Mapping[str, tuple[int, ...]]
    reference_names: Mapping[int, str]
    prediction_names: Mapping[int, str]
    palette: Palette

    @classmethod
    def of(cls, reference: Annotation, prediction: Annotation, names: Iterable[str] = ()) -> "Layers":
        """Layers with a colour for every class and merged label of both, and for what else the page names."""
        regions = regions_of(reference), regions_of(prediction)
        palette = Palette.of((*prediction.classes, *regions[1], *regions[0], *names))
        return cls(*regions, names_by_value(reference), names_by_value(prediction), palette)

    def seen(self, reference: np.ndarray, prediction: np.ndarray) -> frozenset[ClassKey]:
        """Keys of the classes that occur in a case."""
        pairs = ((self.reference_names, reference), (self.prediction_names, prediction))
        return frozenset(
            class_key(names[value]) for names, values in pairs for value in distinct(values).tolist() if value in names
        )
