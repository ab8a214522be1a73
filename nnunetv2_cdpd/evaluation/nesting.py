"""Nesting: two annotations whose label maps are compared, made to put the same classes into each other.

A merged dataset has `liver: [1, 2], liver_tumor: 2`, a raw one `liver: 1, liver_tumor: 2`: the names are the same, and the liver
is not. Where one of the two has a class lie in another and the other one has both side by side, it lies there for both. Where one
does not know the inner class at all, the class table decides: a liver without a tumor label holds the tumors.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, STATE_OF, UNSUPERVISED, Annotation, contradictions
from nnunetv2_cdpd.classes import canonical_name, lies_in_by_name, normal_words, organ_of, says_tumor, structure
from nnunetv2_cdpd.errors import listed
from nnunetv2_cdpd.evaluation.matching import classes_named, name_finder


@dataclass(frozen=True)
class Alike:
    """Annotations of references and of predictions that nest alike.

    nested: Class or union of the reference -> classes that count for it on both sides, though only one side's labels, or the
        class table, say so.
    doubts: Class or union of the reference -> what may make it another thing on each side, in words.
    """

    reference: Annotation
    prediction: Annotation
    nested: Mapping[str, tuple[str, ...]]
    doubts: Mapping[str, str]


def nested_alike(reference: Annotation, prediction: Annotation) -> Alike:
    """Both annotations with the nesting of both; one that lacks nothing is returned as it is."""
    sides = {"reference": (reference, prediction), "prediction": (prediction, reference)}
    nested: dict[str, tuple[str, ...]] = {}
    doubts: dict[str, str] = {}
    made = {}
    for side, (own, other) in sides.items():
        missing = _missing(own, other)
        made[side] = _with(own, missing)
        is_sound = next(contradictions(made[side]), None) is None
        for outer, inner, _ in missing:
            name = _name_in(reference, own, outer)
            if is_sound:
                nested = joined_nesting(nested, {name: (inner,)})
            else:
                doubts[name] = f"{inner} lies in it for one side only, which the other labels of the {side} contradict"
        if not is_sound:
            made[side] = own
        for outer, inner, stranger in _strangers(own, other):
            there = next(what for what in sides if what != side)
            told = f"the {side}'s {inner} counts for it, the {there}'s {stranger} does not; if they are one, name both alike"
            doubts.setdefault(_name_in(reference, own, outer), told)
    return Alike(made["reference"], made["prediction"], nested, doubts)


def joined_nesting(*several: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """All that several `Alike.nested` say."""
    return {
        name: tuple(dict.fromkeys(inner for nested in several for inner in nested.get(name, ())))
        for name in dict.fromkeys(name for nested in several for name in nested)
    }


def told_nesting(nested: Mapping[str, Sequence[str]]) -> str:
    """A line on `Alike.nested`."""
    told = [f"{outer} includes {listed(list(inner))}" for outer, inner in nested.items()]
    return f"on both sides, though not the labels of both say so: {'; '.join(told)}"


# ---- what one side lacks ---------------------------------------------------------------------------------------------

_Missing = tuple[str, str, int]  # outer and inner class of a side, POSITIVE or UNSUPERVISED: maybe in the outer one


def _missing(own: Annotation, other: Annotation) -> list[_Missing]:
    """Classes of a side that lie side by side there, and in each other elsewhere."""
    found: list[_Missing] = []
    there, here = name_finder(other.classes), name_finder(own.classes)
    unasked, merged = name_finder(other.unasked), {label.name: label.value for label in other.merged_labels}
    find_merged = name_finder(tuple(merged))
    counterparts = {
        inner: same for inner in own.classes if unasked(inner) is None and ((same := there(inner)) is None or here(same) == inner)
    }
    for outer, wanted in _shared(own, other):
        for inner, same in counterparts.items():
            if same is not None:
                state = NEGATIVE if _lie_in(other, wanted, same) else _state(other, same, wanted)
            elif label := find_merged(inner):
                state = other.membership(merged[label], wanted)
            else:
                state = STATE_OF[lies_in_by_name(inner, outer)]
            if state == NEGATIVE or _state(own, inner, frozenset({outer})) != NEGATIVE:
                continue
            is_other_way_round = _state(own, outer, frozenset({inner})) != NEGATIVE
            if not is_other_way_round and not (same is None and _unknown_outside(own, other, inner, wanted)):
                found.append((outer, inner, state))
    maybe = Counter(inner for _, inner, state in found if state == UNSUPERVISED)
    # In one of a single class nobody can say: a kidney tumor beside the right kidney alone.
    return [(outer, inner, state) for outer, inner, state in found if state == POSITIVE or maybe[inner] > 1]


def _strangers(own: Annotation, other: Annotation) -> Iterator[tuple[str, str, str]]:
    """Outer and inner class of a side, and one of the other side that may be the inner one by another name, and lies outside."""
    there = name_finder(other.classes)
    unmatched = [inner for inner in own.classes if there(inner) is None]
    for outer, wanted in _shared(own, other):
        for inner in unmatched:
            if inner != outer and _state(own, inner, frozenset({outer})) != NEGATIVE:
                for stranger in _unknown_outside(own, other, inner, wanted)[:1]:
                    yield outer, inner, stranger


def _shared(own: Annotation, other: Annotation) -> Iterator[tuple[str, frozenset[str]]]:
    """Classes of a side that can be compared -> the other side's classes that they stand for."""
    for name in own.classes:
        if wanted := classes_named(other, name, frozenset({name})):
            yield name, wanted


def _state(annotation: Annotation, name: str, classes: frozenset[str]) -> int:
    """Whether what is stored as a class is of these classes; a class without a value of its own is what all its values are."""
    index = annotation.classes.index(name)
    value = annotation.values[index]
    values = annotation.regions[index] if annotation.values.count(value) > 1 else (value,)
    states = {annotation.membership(each, classes) for each in values}
    return states.pop() if len(states) == 1 else UNSUPERVISED


def _lie_in(annotation: Annotation, names: frozenset[str], outer: str) -> bool:
    """Whether classes lie in another one: all their values are its values too."""
    regions = dict(zip(annotation.classes, map(set, annotation.regions)))
    return all(regions[name] < regions[outer] for name in names)


def _unknown_outside(own: Annotation, other: Annotation, inner: str, wanted: frozenset[str]) -> list[str]:
    """Classes of the other side that may be an inner class by a name that no table knows, and lie outside of what it lies in."""
    here = name_finder(own.classes)
    unknown = (
        name for name in other.classes if canonical_name(name) is None and not structure(name).parents and here(name) is None
    )
    return [name for name in unknown if _may_mean(name, inner) and _state(other, name, wanted) == NEGATIVE]


def _may_mean(name: str, known: str) -> bool:
    if says_tumor(name) != says_tumor(known):
        return False
    bare_tumor = says_tumor(name) and organ_of(name) is None
    return bare_tumor or not set(normal_words(name)).isdisjoint(normal_words(known))


# ---- put right -------------------------------------------------------------------------------------------------------


def _with(own: Annotation, missing: list[_Missing]) -> Annotation:
    if not missing:
        return own
    region = dict(zip(own.classes, map(set, own.regions)))
    possible = dict(own.possible_parents)
    for outer, inner, state in missing:
        if state == POSITIVE:
            region[outer].update(own.regions[own.classes.index(inner)])
        else:
            possible[inner] = (*possible.get(inner, ()), outer)
    regions = tuple(tuple(sorted(region[name])) for name in own.classes)
    return replace(own, regions=regions, possible_parents=possible)


def _name_in(reference: Annotation, own: Annotation, outer: str) -> str:
    """The class or union of the reference that a class of a side stands for."""
    if own is reference:
        return outer
    wanted = classes_named(reference, outer, frozenset({outer}))
    return dict(zip(reference.columns, reference.column_names)).get(wanted, outer)
