"""Openness: at which stored values a class may be added without unsaying what the source of the case says there.

A stored value leaves possibilities (`Annotation.alternatives`): a merged kidney is the right or the left one, a liver voxel is
liver. Writing another value keeps what was said where one of the new possibilities holds one of the old, and adds no class
that the source annotates, since it would have drawn it. So background may become any class that the source does not annotate
and that lies in none that it does, liver may become a tumor that it does not draw, a merged kidney its right or left one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.annotation import Annotation

Possibilities = list[frozenset[str]]


@dataclass(frozen=True)
class Openness:
    """What one source leaves open. Classes are indices into `annotation.classes`.

    addable: Bool (V, K): whether a class may be written over a stored value.
    certain: Bool (V, K): whether a stored value is of a class for certain.
    is_real: Bool (V,): whether a stored value is an annotation that stays where nothing is added: of a class for certain.
    is_merged: Bool (V,): whether it is one of several classes, not known which.
    """

    addable: np.ndarray
    certain: np.ndarray
    is_real: np.ndarray
    is_merged: np.ndarray

    @classmethod
    def of(cls, annotation: Annotation, source: int) -> "Openness":
        """Of the label maps of a source, by its index."""
        size = (annotation.num_values, len(annotation.classes))
        addable, certain = np.zeros(size, bool), np.zeros(size, bool)
        annotated = annotation.annotated_with_merged(annotation.sources[source])
        new = [annotation.alternatives(value) for value in annotation.values]
        for value in annotation.stored_values(annotation.sources[source]):
            if value == annotation.ignore_value:
                continue  # somebody said that nothing is to be learned here
            said = _possibilities(annotation, value)
            for k, name in enumerate(annotation.classes):
                certain[value, k] = all(name in classes for classes in said)
                addable[value, k] = annotation.values[k] != value and _can_become(said, new[k], annotated)
        merged = [label.value for label in annotation.merged_labels]
        is_merged = np.isin(np.arange(annotation.num_values), merged)
        return cls(addable, certain, certain.any(1) & ~is_merged, is_merged)

    @property
    def open_classes(self) -> tuple[int, ...]:
        """Classes that may be written somewhere."""
        return tuple(np.flatnonzero(self.addable.any(0)).tolist())

    def open_at(self, values: Iterable[int]) -> tuple[int, ...]:
        """Classes that may be written over one of these stored values."""
        return tuple(np.flatnonzero(self.addable[list(values)].any(0)).tolist())


def excluded_classes(annotation: Annotation) -> np.ndarray:
    """Bool (K, K): whether a voxel that is of one class for certain (row) cannot be of another (column) too."""
    new = [annotation.alternatives(value) for value in annotation.values]
    return np.array([[_exclude(new[j], name, new[k]) for k, name in enumerate(annotation.classes)] for j in range(len(new))])


def _exclude(said: Possibilities, name: str, its: Possibilities) -> bool:
    """Whether a voxel with these possibilities can neither be of a class nor become it."""
    return not any(name in classes for classes in said) and not _can_become(said, its, frozenset())


def _possibilities(annotation: Annotation, value: int) -> Possibilities:
    return annotation.alternatives(value) or [frozenset()]


def _can_become(said: Possibilities, new: Possibilities, annotated: frozenset[str]) -> bool:
    return any(before <= after and annotated.isdisjoint(after - before) for before in said for after in new)
