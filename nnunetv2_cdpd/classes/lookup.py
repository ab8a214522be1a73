"""Lookup: from a name as somebody wrote it to the class that it means, by rules for words and the tables.

Two names mean the same class where their `class_key` is the same. A name that no table knows has a key too, its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import permutations
from types import MappingProxyType
from typing import NamedTuple

from nnunetv2_cdpd.classes.synonyms import (
    AMERICAN,
    BETWEEN_SIDES,
    BOTH_SIDES,
    NO_PLURALS,
    ORGAN_OF_ADJECTIVE,
    SAME_AS_TUMOR,
    SIDE,
    SINGULARS,
    SYNONYMS,
    TUMOR_WORDS,
)
from nnunetv2_cdpd.classes.table import ANY, CLASS_TABLE, OTHER_STRUCTURES, Structure
from nnunetv2_cdpd.classes.words import SCOPE, SIDE_WORDS, name_key, split_side, unscoped, words_and_signs

_ENDS_OF_SINGULARS = ("ss", "us", "is", "as", "os")
_SIDES = ("left", "right")


class ClassKey(NamedTuple):
    """What a name means.

    base: Of the structure without its side, in no spelling of ours.
    side: "left", "right" or None.
    scope: The source whose definition is meant, "" for anybody's.
    """

    base: str
    side: str | None
    scope: str


@lru_cache(maxsize=4096)
def class_key(name: str) -> ClassKey:
    """What a name means: the same for "left_kidney", "Kidney_L" and "LKidney", for "liver_tumor" and "hepatic tumours"."""
    plain, _, scope = name.partition(SCOPE)
    joined, known = name_key(plain), _known()
    base, side = known.joined[joined] if joined in known.joined else _by_words(plain)
    if (base, side) in known.synonyms:
        base, side = known.synonyms[base, side]
    elif (base, None) in known.synonyms:
        base, own = known.synonyms[base, None]
        side = side or own
    return ClassKey(base, side, name_key(scope))


def names_both_sides(name: str, sided: str) -> bool:
    """Whether a name is that of a left or right structure without its side: "kidney" or "kidneys" for "left_kidney"."""
    whole, part = class_key(name), class_key(sided)
    return whole.side is None and part == whole._replace(side=part.side) and part.side is not None


def canonical_name(name: str) -> str | None:
    """How the tables spell the class that a name means, with its scope; None where they do not know it."""
    key = class_key(name)
    spelled = _known().names.get((key.base, key.side))
    return spelled and spelled + name[len(unscoped(name)) :]


def known_names() -> Mapping[tuple[str, str | None], str]:
    """Base and side of a class key -> how the tables spell it, for all that they know."""
    return MappingProxyType(_known().names)


def structure(name: str) -> Structure:
    """Look a class up in the class table by name; a structure without nesting where the table does not have it.

    A scoped class has the facts of its structure under its own name, and so has one side of a structure of which the table has
    no side.
    """
    plain, scope, source = name.partition(SCOPE)
    key = class_key(plain)
    known = entry_of(key) or Structure(plain)
    if (key.base, key.side) not in _known().structures:
        known = replace(known, name=plain)
    return replace(known, name=f"{known.name}{SCOPE}{source}") if scope else known


def entry_of(key: ClassKey) -> Structure | None:
    """Entry of the class table; of one side of a structure that it has without a side, with the parents of that side."""
    structures = _known().structures
    if (own := structures.get((key.base, key.side))) is not None:
        return own
    if (both := structures.get((key.base, None))) is None:
        return None
    return replace(both, parents=tuple(parent for parent in both.parents if class_key(parent).side in (key.side, None)))


def compatible_pairs(names: Iterable[str]) -> frozenset[frozenset[str]]:
    """Pairs of these class names that the table calls compatible, or that are one structure scoped to different sources."""
    names = tuple(names)
    plain = {name: class_key(unscoped(name)) for name in names}
    related = {name: {*map(class_key, structure(name).compatible)} for name in names}
    borderless = {name for name in names if ANY in structure(name).compatible}
    return frozenset(
        frozenset((name, other))
        for name, other in permutations(names, 2)
        if name in borderless or plain[other] in related[name] or _may_be_one(class_key(name), class_key(other))
    )


def _may_be_one(one: ClassKey, other: ClassKey) -> bool:
    """Whether two sources may mean the same voxels by two scoped classes: a kidney is also the left kidney of another."""
    return one.scope != other.scope and one.base == other.base and (one.side == other.side or None in (one.side, other.side))


def says_tumor(name: str) -> bool:
    """Whether a class name says that it is a tumor, a cyst, a lesion or the like."""
    return not TUMOR_WORDS.isdisjoint(normal_words(unscoped(name)))


def organ_of(name: str) -> str | None:
    """The organ that the name of a tumor or the like speaks of, in no spelling of ours: "renal_cyst" has "kidney"."""
    words = [word for word in normal_words(unscoped(name)) if word not in TUMOR_WORDS]
    return class_key("_".join(words)).base if words and says_tumor(name) else None


@lru_cache(maxsize=4096)
def normal_words(name: str) -> tuple[str, ...]:
    """The words of a name without its side: American, singular, a tumor's organ as a noun."""
    words = _without_both(split_side(words_and_signs(name))[0])
    if words in [(word,) for word in NO_PLURALS]:
        return words
    words = tuple(_singular(AMERICAN.get(word, word)) for word in words)
    if len(words) > 1 and not TUMOR_WORDS.isdisjoint(words):
        words = tuple("tumor" if word in SAME_AS_TUMOR else ORGAN_OF_ADJECTIVE.get(word, word) for word in words)
    return words


def _without_both(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that say both sides say none: "left and right lung", "both lungs" are the lung."""
    sides = {word for word in words if word in SIDE_WORDS}
    sides = sides if len({SIDE_WORDS[word] for word in sides}) == len(_SIDES) else set()
    extra = BOTH_SIDES | sides | (BETWEEN_SIDES if sides else set())
    return tuple(word for word in words if word not in extra) or words


def _singular(word: str) -> str:
    if word in SINGULARS:
        return SINGULARS[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(_ENDS_OF_SINGULARS):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("sses", "uses", "xes")) else word[:-1]


def _by_words(plain: str) -> tuple[str, str | None]:
    """Base and side by the rules alone."""
    words, side = split_side(words_and_signs(plain))
    if not words:  # "L", "left": a side of nothing
        return name_key(plain), None
    return "".join(normal_words(plain)), side


# ---- the tables, read once -------------------------------------------------------------------------------------------

_Found = tuple[str, str | None]


class _Known(NamedTuple):
    """names: base and side -> our spelling.
    synonyms: base and side of another name -> those of ours; side None: of any side.
    joined: a name without separators and case, of which the words cannot be told ("leftkidney") -> base and side by its words.
    structures: base and side -> entry of the class table.
    """

    names: dict[_Found, str]
    synonyms: dict[_Found, _Found]
    joined: dict[str, _Found]
    structures: dict[_Found, Structure]


@lru_cache(maxsize=1)
def _known() -> _Known:
    known = _Known({}, {}, {}, {})
    for entry in (*CLASS_TABLE, *OTHER_STRUCTURES):
        known.structures[_by_words(entry.name)] = entry
        _enter(known, entry.name)
    for pattern, others in SYNONYMS.items():
        for name in _each_side(pattern):
            _enter(known, name)
        for other in others:
            for name, meant in zip(_each_side(other), _each_side(pattern)):
                base, side = _by_words(meant)
                found = _by_words(name)
                # of both sides, unless the name of one structure has the side in it, or none has another
                known.synonyms[found] = (base, None) if SIDE in pattern and SIDE not in other else (base, side)
                known.joined.setdefault(name_key(name), found)
        for phrase in (pattern, *others) if SIDE in pattern else ():
            _enter_joined(known, phrase)
    return known


def _each_side(pattern: str) -> list[str]:
    return [pattern.replace(SIDE, side) for side in _SIDES] if SIDE in pattern else [pattern]


def _enter(known: _Known, name: str) -> None:
    """A name of ours; where it has a side, the structure without it is known too."""
    base, side = _by_words(name)
    known.names.setdefault((base, side), name)
    known.joined.setdefault(name_key(name), (base, side))
    if side is not None:
        bare = "_".join(word for word in name.split("_") if word != side)
        known.names.setdefault((base, None), bare)
        known.joined.setdefault(name_key(bare), (base, None))


def _enter_joined(known: _Known, phrase: str) -> None:
    """Spellings of a sided name in one word, like "leftkidney", "kidneyleft", "lkidney"."""
    bare = name_key(phrase.replace(SIDE, ""))
    base, _ = _by_words(phrase.replace(SIDE, ""))
    for side in _SIDES:
        for joined in (f"{side}{bare}", f"{bare}{side}", f"{side[0]}{bare}", f"{bare}{side[0]}"):
            known.joined.setdefault(joined, (base, side))
