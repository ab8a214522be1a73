"""Nesting: which class lies in which, decided once for the whole merged dataset.

By falling priority: the YAML, the regions and possible parents of the input datasets, the class table. The table counts
by default because a source that labels organs only would otherwise call every tumor voxel of theirs "no tumor".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnunetv2_cdpd.classes import class_key, names_both_sides, structure
from nnunetv2_cdpd.errors import UserError, listed

_FEW = 3  # classes that have a note each


@dataclass(frozen=True)
class Nesting:
    """certain: class -> classes that each of its voxels belongs to as well.
    possible: class -> classes of which each of its voxels belongs to one, not known which.
    """

    certain: Mapping[str, frozenset[str]]
    possible: Mapping[str, tuple[str, ...]]

    def closure(self, name: str) -> frozenset[str]:
        """The class and all classes that it certainly lies in."""
        found, waiting = {name}, [name]
        while waiting:
            new = self.certain.get(waiting.pop(), frozenset()) - found
            found |= new
            waiting += new
        return frozenset(found)

    def parents(self, name: str) -> frozenset[str]:
        return self.certain.get(name, frozenset()) | set(self.possible.get(name, ()))

    def outer_to_inner(self, classes: Sequence[str], where: str) -> tuple[str, ...]:
        """The classes with each parent before what lies in it, otherwise in the order given.

        Args:
            where: For messages.

        Raises:
            UserError: Some lie in each other.
        """
        ordered, waiting = [], list(classes)
        while waiting:
            first = next((name for name in waiting if self.parents(name).isdisjoint(waiting)), None)
            if first is None:
                raise UserError(
                    f"{where}: {', '.join(waiting)} lie in each other; say in the YAML under `nested` which is outside"
                )
            ordered.append(first)
            waiting.remove(first)
        return tuple(ordered)


def sides_of(name: str, classes: Sequence[str]) -> tuple[str, str] | None:
    """The (left, right) pair among the classes that a name without side stands for."""
    sided = {class_key(other).side: other for other in reversed(classes) if names_both_sides(name, other)}
    return (sided["left"], sided["right"]) if len(sided) == 2 else None


def resolve_nesting(
    classes: Sequence[str],
    dropped: Sequence[str],
    declared: Mapping[str, tuple[str, ...]],
    from_inputs: Iterable[Nesting],
) -> tuple[Nesting, frozenset[frozenset[str]], list[str]]:
    """Decide what lies in what.

    Args:
        classes: Merged classes.
        dropped: Names of dropped labels that are no class; where they lie says what their voxels still are.
        declared: The YAML's `nested`, in merged names.
        from_inputs: What each input dataset says, in merged names.

    Returns:
        The nesting; pairs of classes that may overlap, of which one may lie in the other; notes for the user.
    """
    from_inputs = list(from_inputs)
    certain: dict[str, frozenset[str]] = {}
    possible: dict[str, tuple[str, ...]] = {}
    overlapping: set[frozenset[str]] = set()
    by_default: dict[tuple[str, ...], list[str]] = {}
    for name in (*classes, *dropped):
        if name in declared:
            parents = declared[name]
            certain[name] = frozenset(parents if len(parents) == 1 else ())
            possible[name] = parents if len(parents) > 1 else ()
            continue
        said = list(dict.fromkeys(nesting.possible[name] for nesting in from_inputs if nesting.possible.get(name)))
        if len({frozenset(parents) for parents in said}) > 1:
            raise UserError(
                f"the datasets differ in where {name!r} lies ({' / '.join(', '.join(parents) for parents in said)}); "
                f"say it in the YAML, like `nested: {{{name}: [{', '.join(said[0])}]}}`"
            )
        regions = frozenset().union(*(nesting.certain.get(name, frozenset()) for nesting in from_inputs))
        default, missing = _default_parents(name, classes)
        if missing:  # it may lie in a structure that is no class here, or in one that is
            overlapping.update(frozenset((name, parent)) for parent in default if name in classes)
            default = ()
        possible[name] = said[0] if said else default if len(default) > 1 else ()
        added = frozenset(default if len(default) == 1 else ()) - regions
        # A dataset whose regions tell the side keeps it in its stored values (plan.py); in general it stays open.
        certain[name] = (regions | added) - set(possible[name])
        if name in classes and (added or (default and possible[name] == default and not said)):
            by_default.setdefault(default, []).append(name)
    notes = [note for parents, names in by_default.items() for note in _notes(names, " or ".join(parents))]
    return Nesting(certain, possible), frozenset(overlapping), notes


def _notes(names: list[str], outer: str) -> list[str]:
    """What lies in something by default, each class in a line; vertebrae or ribs in one."""
    way_out = "in the YAML undoes it"
    if len(names) <= _FEW:
        return [f"{name} lies in {outer}, by default; `nested: {{{name}: null}}` {way_out}" for name in names]
    return [f"{listed(names, _FEW)} lie in {outer}, by default; `nested: {{{names[0]}: null}}` {way_out} for one"]


def _default_parents(name: str, classes: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Classes that a class lies in by the class table, and whether the table names one that is no class here."""
    by_key = {class_key(other): other for other in classes}
    if without_side := [other for other in classes if names_both_sides(other, name)]:  # `right_kidney` lies in `kidney`
        return (without_side[0],), False
    in_table = structure(name).parents
    while True:
        parents = tuple(by_key[class_key(parent)] for parent in in_table if class_key(parent) in by_key)
        if len(parents) == len(in_table):
            return parents, False
        if both_sides := [other for other in classes if all(names_both_sides(other, parent) for parent in in_table)]:
            return (both_sides[0],), False
        around = {parent: structure(parent).parents for parent in in_table if class_key(parent) not in by_key}
        if not all(around.values()):
            return parents, True
        in_table = tuple(dict.fromkeys(outer for parent in in_table for outer in around.get(parent, (parent,))))
