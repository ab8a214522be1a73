"""Sides: the side that a class name says, and names that differ in nothing else."""

from collections.abc import Sequence

from nnunetv2_cdpd.classes.lookup import ClassKey, class_key, known_names
from nnunetv2_cdpd.classes.words import name_words, split_side, unscoped


def side_of(name: str) -> str | None:
    """The side that a class name says, "left" or "right", by its words or as the tables know it ("lkid"); None: it says none."""
    return split_side(name_words(unscoped(name)))[1] or class_key(name).side


def is_of_both_sides(name: str) -> bool:
    """Whether a name says no side of a structure that the tables know a left one of: "kidney", "lungs"."""
    key = class_key(unscoped(name))
    return key.side is None and (key.base, "left") in known_names()


def lateral_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (left, right) of names that differ in their side only, in the order of the left ones."""
    right = {_of_any_side(name): name for name in names if side_of(name) == "right"}
    return [(name, right[_of_any_side(name)]) for name in names if side_of(name) == "left" and _of_any_side(name) in right]


def _of_any_side(name: str) -> ClassKey:
    return class_key(name)._replace(side=None)
