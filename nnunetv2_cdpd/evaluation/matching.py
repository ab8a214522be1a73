"""Matching: what each stored value of a prediction says about the classes of a reference, matched by name."""

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np

from nnunetv2_cdpd.annotation import NEGATIVE, Annotation
from nnunetv2_cdpd.classes import ClassKey, class_key, name_key


def prediction_states(reference: Annotation, prediction: Annotation) -> dict[str, np.ndarray]:
    """State of each stored value of a prediction, for the classes and unions of a reference.

    Stored values may differ between the two; names decide. A nested class counts for its certain parents; one with
    several possible parents is certain for their union only.

    Returns:
        Column name of the reference -> uint8 (V,) of POSITIVE, NEGATIVE, or UNSUPERVISED (may be of the class). A class
        that the prediction's labels do not hold is missing, and so is a union of which one class is missing.
    """
    states = {}
    for name, members in zip(reference.column_names, reference.columns):
        wanted = classes_named(prediction, name, members)
        if wanted:
            states[name] = np.full(prediction.num_values, NEGATIVE, np.uint8)  # also of values that nothing declares
            for value in np.flatnonzero(prediction.declared).tolist():
                states[name][value] = prediction.membership(value, wanted)
    return states


def classes_named(annotation: Annotation, name: str, members: frozenset[str]) -> frozenset[str]:
    """The classes that make up a column of another annotation; empty if this one does not hold all of them.

    Args:
        name: Of the column.
        members: The other annotation's classes that it stands for.
    """
    own = name_finder(annotation.classes)
    found = frozenset(one for member in members if (one := own(member)) is not None)
    if len(found) == len(members):
        return found
    # Left and right kidney on one side, `kidney` on the other: the same thing under the merged label's name.
    if (one := own(name)) is not None:
        return frozenset([one])
    merged = {label.name: frozenset(label.classes) for label in annotation.merged_labels}
    label = name_finder(merged)(name)
    return frozenset() if label is None else merged[label]


def name_finder(names: Iterable[str]) -> Callable[[str], str | None]:
    """Finds a name among these: the same spelling first, else the only one that means the same."""
    return _finder(tuple(names))


@lru_cache(maxsize=64)
def _finder(names: tuple[str, ...]) -> Callable[[str], str | None]:
    spelled = {name_key(name): name for name in names}
    meant: dict[ClassKey, list[str]] = {}
    for name in spelled.values():
        meant.setdefault(class_key(name), []).append(name)

    def find(name: str) -> str | None:
        same = meant.get(class_key(name), [])
        return spelled.get(name_key(name), same[0] if len(same) == 1 else None)

    return find
