"""Nesting: whether a class lies in another one by their names, as the class table has it, over all its levels."""

from nnunetv2_cdpd.classes.lookup import ClassKey, class_key, entry_of, normal_words, organ_of
from nnunetv2_cdpd.classes.synonyms import SITES_OF_METASTASES
from nnunetv2_cdpd.classes.words import unscoped


def outer_keys(name: str) -> tuple[ClassKey, ...]:
    """What a class lies in, one of several where it is not known in which: as the class table has it, of the side of the name.

    Of a tumor or the like that the table does not know it is the organ that its name speaks of; () where nothing tells.
    """
    key = class_key(unscoped(name))
    if around := _around(key):
        return around
    organ = organ_of(name)
    if organ is None or ("metastasis" in normal_words(unscoped(name)) and organ not in SITES_OF_METASTASES):
        return ()
    return (ClassKey(organ, key.side, ""),)


def lies_in_by_name(name: str, outer: str) -> bool | None:
    """Whether all voxels of a class are of another one; None: some are, and nobody can tell which.

    A tumor of the colon lies in the large bowel, the left kidney in a kidney, and of a kidney's tumor nobody can tell whether it
    lies in the left kidney. False too where no name tells.
    """
    own, goal = class_key(unscoped(name)), class_key(unscoped(outer))
    return _is_one_side(own, goal) or _in_all(outer_keys(name), goal)


def _is_or_lies_in(key: ClassKey, goal: ClassKey) -> bool | None:
    if key == goal or _is_one_side(key, goal):
        return True
    if _is_one_side(goal, key):
        return None
    return _in_all(_around(key), goal)


def _in_all(keys: tuple[ClassKey, ...], goal: ClassKey) -> bool | None:
    """Of what lies in one of these structures."""
    found = {_is_or_lies_in(key, goal) for key in keys}
    return None if None in found or len(found) > 1 else True in found


def _is_one_side(key: ClassKey, whole: ClassKey) -> bool:
    return key.side is not None and whole == key._replace(side=None)


def _around(key: ClassKey) -> tuple[ClassKey, ...]:
    entry = entry_of(key)
    return () if entry is None else tuple(map(class_key, entry.parents))
