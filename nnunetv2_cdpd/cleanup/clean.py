"""clean_label_map: apply the rules of the clean-up to one label map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import lies_in_by_name, structure
from nnunetv2_cdpd.cleanup.labelled_volume import LabelledVolume
from nnunetv2_cdpd.cleanup.rules import RULES, check_rules
from nnunetv2_cdpd.place.predicted import ImagePlace
from nnunetv2_cdpd.volumes.grid import Grid

Effects = dict[str, dict[str, dict[str, int]]]


def clean_label_map(
    label_map: np.ndarray,
    spacing_mm: Sequence[float],
    classes: Mapping[str, int],
    rules: Sequence[str] | None = None,
    *,
    parents: Mapping[str, Sequence[str]] | None = None,
    axes: str | None = None,
    place: ImagePlace | None = None,
) -> tuple[np.ndarray, Effects]:
    """Clean a predicted label map by what is known of the anatomy.

    Args:
        label_map: (Z, Y, X) integers, or with the axes in any other order; not changed.
        spacing_mm: Voxel size in mm, array order.
        classes: Class name -> stored value, as `labels` of dataset.json names them; for a region the value of the class
            itself. A class that the class table does not know is left alone, except for its side.
        rules: Names from `RULES`, applied in the order of `RULES`; None: all.
        parents: Nested class -> classes that it may lie in, some of which `classes` may lack; None: as the class table has it.
            See `nesting_of`.
        axes: Towards which side of the body each axis of the array runs, one letter of L R A P S I each ("SPL": from feet to
            head, from front to back, from right to left). None: not known; `portal_vein` then does nothing.
        place: Where the classes can lie in the image. None: not known; `place` then does nothing.

    Returns:
        The cleaned label map, of the same type, and rule -> class -> voxels "removed" (now background) and "moved" (now of
        another class), of the classes that a rule changed.

    Raises:
        UserError: An unknown rule.
        ValueError: The label map has not three axes, or `axes` is no orientation.
    """
    check_rules(rules)
    if label_map.ndim != 3 or len(spacing_mm) != 3:
        raise ValueError(f"a label map with three axes is cleaned, not one of shape {label_map.shape}, spacing {spacing_mm}")
    if axes is not None and (len(axes) != 3 or any(len({*pair} & {*axes}) != 1 for pair in ("LR", "AP", "SI"))):
        raise ValueError(f"axes {axes!r}: one letter of each of the pairs LR, AP and SI")
    nesting = nesting_in_table(classes) if parents is None else parents
    nesting = {name: organs for name, organs in nesting.items() if name in classes}
    volume = LabelledVolume(np.array(label_map), tuple(spacing_mm), dict(classes), nesting, axes, place)
    for name in RULES:
        if rules is None or name in rules:
            volume.effects[name] = {}
            RULES[name](volume)
    return volume.label_map, volume.effects


def array_axes(array_shape: Sequence[int], properties: Mapping[str, Any]) -> str | None:
    """The `axes` of an array that a reader of nnU-Net read, with the reader's properties; None where its format has none."""
    grid = Grid.of_properties(array_shape, properties)
    return None if grid is None or grid.axes is None else grid.axes[::-1]


def nesting_in_table(classes: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Nested class -> classes that it may lie in, by the class table over all its levels, in the spelling of `classes`."""
    nesting = {
        name: tuple(outer for outer in classes if outer != name and lies_in_by_name(name, outer) is not False)
        for name in classes
        if structure(name).parents  # the name alone says little: a metastasis of the breast lies elsewhere
    }
    return {name: parents for name, parents in nesting.items() if parents}


def nesting_of(annotation: Annotation) -> dict[str, tuple[str, ...]]:
    """Nested class -> classes that it may lie in, by a dataset.json, which wins over the class table."""
    nesting = {name: annotation.possible_ancestors(name) for name in annotation.classes}
    said = {name: tuple(sorted(parents, key=annotation.classes.index)) for name, parents in nesting.items() if parents}
    return nesting_in_table(dict(zip(annotation.classes, annotation.values))) | said
