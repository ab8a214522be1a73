"""Matching: what each stored value of a prediction says about the classes of a reference, matched by name."""

from collections.abc import Callable, Iterable

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
        wanted = _classes_named(prediction, name, members)
        if wanted:
            states[name] = np.full(prediction.num_values, NEGATIVE, np.uint8)  # also of values that nothing declares
            for value in np.flatnonzero(prediction.declared).tolist():
                states[name][value] = prediction.membership(value, wanted)
    return states


def _classes_named(prediction: Annotation, name: str, members: frozenset[str]) -> frozenset[str]:
    """The prediction's classes that make up a column of the reference; empty if it does not hold all of them."""
    own = name_finder(prediction.classes)
    found = frozenset(one for member in members if (one := own(member)) is not None)
    if len(found) == len(members):
        return found
    # Left and right kidney on one side, `kidney` on the other: the same thing under the merged label's name.
    if (one := own(name)) is not None:
        return frozenset([one])
    merged = {label.name: frozenset(label.classes) for label in prediction.merged_labels}
    label = name_finder(merged)(name)
    return frozenset() if label is None else merged[label]


def name_finder(names: Iterable[str]) -> Callable[[str], str | None]:
    """Finds a name among these: the same spelling first, else the only one that means the same."""
    spelled = {name_key(name): name for name in names}
    meant: dict[ClassKey, list[str]] = {}
    for name in spelled.values():
        meant.setdefault(class_key(name), []).append(name)

    def find(name: str) -> str | None:
        same = meant.get(class_key(name), [])
        return spelled.get(name_key(name), same[0] if len(same) == 1 else None)

    return find
