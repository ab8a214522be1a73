"""Telling: what became of every name, and what a person should look at: near misses, tumors without an organ, parts of a class
that are held apart from it, renamed classes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.classes import (
    canonical_name,
    class_key,
    name_key,
    nearly_same,
    normal_words,
    organ_of,
    says_tumor,
    structure,
    unscoped,
)
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import listed
from nnunetv2_cdpd.jobs.tables import aligned
from nnunetv2_cdpd.jobs.yaml_files import yaml_line
from nnunetv2_cdpd.merge.naming import IGNORE, Naming, Spelling, label_line
from nnunetv2_cdpd.merge.nesting import Nesting
from nnunetv2_cdpd.merge.spec import DatasetSpec


def names_table(inputs: Sequence[RawDataset], naming: Naming) -> str:
    """A table dataset x label -> merged class; what got another name is marked with `*`."""
    rows = [("dataset", "label", "", "merged class")]
    for dataset, target in zip(inputs, naming.targets):
        for label, goal in target.items():
            group = " or ".join(naming.merged_labels.get(goal or "", ()))
            what = "(dropped)" if goal is None else "(not supervised)" if goal == IGNORE else goal
            rows.append((dataset.name, label, "" if goal == label else "*", f"{what} = {group}" if group else what))
    lines = aligned(rows, left=4, last_is_total=False)
    if any(changed for _, _, changed, _ in rows):
        lines.append("* another name, by the table of synonyms, the rules for spelling or the YAML")
    return "\n".join(lines)


def near_misses(inputs: Sequence[RawDataset], specs: Sequence[DatasetSpec], naming: Naming) -> list[str]:
    """Labels that no table knows but that are nearly the name of a class, with the YAML line that unites the two."""
    notes: dict[frozenset[str], str] = {}  # of two that are nearly each other, one
    for dataset, entry, target in zip(inputs, specs, naming.targets):
        own = {class_key(goal) for goal in target.values() if goal is not None}
        others = [name for name in naming.classes if class_key(name) not in own]
        for label, goal in target.items():
            if label in entry.labels or goal is None or goal == IGNORE or canonical_name(label) is not None:
                continue
            like = nearly_same(label, others)
            if like is not None and class_key(like) not in own:
                line = label_line(dataset, label, like)
                told = f"{dataset.name}: {label!r} is nearly {like!r}; if it is the same, write `{line}` in the YAML"
                notes.setdefault(frozenset((label, like)), told)
    return list(notes.values())


def tumors_without_organ(inputs: Sequence[RawDataset], naming: Naming, nesting: Nesting, declared: Collection[str]) -> list[str]:
    """Tumors, lesions and cysts that lie in no class, so that a source of organs teaches that there are none, with the way out.

    Args:
        declared: Classes of which the YAML says what they lie in.
    """
    notes = []
    for name in naming.classes:
        if not says_tumor(name) or nesting.parents(name) or name in declared:
            continue
        holders = [(dataset, target) for dataset, target in zip(inputs, naming.targets) if name in target.values()]
        bare = organ_of(name) is None  # "tumor"
        organs = _beside(name, holders, naming) if bare else _organ(name, naming.classes)
        if len(organs) == 1:
            line = yaml_line({"nested": {name: organs[0][0] if len(organs[0]) == 1 else list(organs[0])}})
            notes.append(f"{name} lies in no class; `{line}` in the YAML gives it one")
        elif organs:
            choice = listed([" and ".join(organ) for organ in organs])
            notes.append(f"{name} lies in no class; `nested: {{{name}: ORGAN}}` in the YAML gives it one, of {choice}")
        else:
            organ = " or ".join(structure(name).parents) or "its organ"
            notes.append(
                f"{name} lies in no class, as none here is {organ}; `nested: {{{name}: ORGAN}}` in the YAML names another"
            )
        if bare and (len(holders) > 1 or len(organs) == 1):
            named = [
                (dataset, _label_of(target, name), _with_organ(name, dataset, naming, target)) for dataset, target in holders
            ]
            lines = " and ".join(f"`{label_line(*each)}`" for each in named)
            where = f"{len(holders)} datasets, one class whatever organ they mean" if len(holders) > 1 else "any organ"
            notes.append(f"{name} may be of {where}; {lines} in the YAML says of which")
    return notes


def parts_held_apart(annotation: Annotation, declared: Collection[str]) -> list[str]:
    """Classes whose names say that they are parts of another that they lie in by nothing known, and that a source which labels
    one of the two is taught to exclude, with the way out.

    Args:
        declared: Classes of which the YAML says what they lie in.
    """
    notes = []
    for part in annotation.classes:
        if part in declared or says_tumor(part):
            continue
        wholes = [whole for whole in annotation.classes if _is_apart(part, whole, annotation)]
        if wholes:
            nested = yaml_line({"nested": {part: wholes[0] if len(wholes) == 1 else wholes}})
            pairs = yaml_line({"compatible": [[part, whole] for whole in wholes]})
            notes.append(
                f"{part} and {listed(wholes)} exclude each other, as no table knows better: a source that labels one alone "
                f"teaches that the other is not there; `{nested}` in the YAML if it is a part, `{pairs}` if both may be at one "
                "place"
            )
    return notes


def _is_apart(part: str, whole: str, annotation: Annotation) -> bool:
    """Whether a name has all words of another and some more, and nothing relates the two, of which a source annotates one."""
    fewer, more = set(normal_words(unscoped(whole))), set(normal_words(unscoped(part)))
    sides = {class_key(part).side, class_key(whole).side} - {None}
    if not fewer < more or len(sides) > 1 or frozenset((part, whole)) in annotation.compatible:
        return False
    if whole in annotation.possible_ancestors(part) or part in annotation.possible_ancestors(whole):
        return False
    annotated = [annotation.annotated_with_merged(source) for source in annotation.sources]
    return any((part in names) != (whole in names) for names in annotated)


def _organ(name: str, classes: Sequence[str]) -> list[tuple[str, ...]]:
    """The class that the name of a tumor speaks of, or its two sides; none where the class table has it lie elsewhere."""
    if structure(name).parents:
        return []
    sides = {class_key(other).side: other for other in classes if class_key(other).base == organ_of(name)}
    own = class_key(name).side
    if own in sides or None in sides:
        return [(sides.get(own) or sides[None],)]
    return [(sides["left"], sides["right"])] if own is None and len(sides) == 2 else []


def _beside(name: str, holders: Sequence[tuple[RawDataset, Mapping[str, str | None]]], naming: Naming) -> list[tuple[str, ...]]:
    """The organs that the datasets with a bare tumor label beside it, each with its sides where these are not known."""
    goals = [goal for _, target in holders for goal in target.values() if goal is not None and goal not in (IGNORE, name)]
    return list(dict.fromkeys(naming.merged_labels.get(goal, (goal,)) for goal in goals if not says_tumor(goal)))


def _with_organ(name: str, dataset: RawDataset, naming: Naming, target: Mapping[str, str | None]) -> str:
    """A bare tumor by the name of the only organ beside it, like "kidney_tumor"."""
    organs = _beside(name, [(dataset, target)], naming)
    return "_".join([*(normal_words(organs[0][0]) if len(organs) == 1 else ["ORGAN"]), name])


def renamed_classes(old: Any, naming: Naming, spelling: Spelling) -> dict[str, str]:
    """Classes and merged labels of an earlier merge that this one gives another name: old -> new.

    Args:
        old: Content of the dataset.json that the earlier merge wrote; None if there is none.
    """
    content = old if isinstance(old, Mapping) else {}
    names = [*_keys(content.get("labels")), *_keys(_mapping(content.get("cdpd")).get("merged_labels"))]
    now = {*naming.classes, *naming.merged_labels}
    return {name: spelling(name) for name in names if name not in now and spelling(name) in now}


def line_that_keeps(renamed: Mapping[str, str], inputs: Sequence[RawDataset], naming: Naming) -> str | None:
    """The YAML line that gives classes the names that they had, those that datasets call so; None if there are none."""
    kept: dict[str, dict[str, dict[str, str]]] = {}
    for dataset, target in zip(inputs, naming.targets):
        for label, goal in target.items():
            if label in renamed and goal == renamed[label] and name_key(label) != name_key(goal):
                kept.setdefault(dataset.name, {"labels": {}})["labels"][label] = label
    return yaml_line({"datasets": kept}) if kept else None


def _label_of(target: Mapping[str, str | None], name: str) -> str:
    return next(label for label, goal in target.items() if goal == name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _keys(value: Any) -> list[str]:
    return [name for name in _mapping(value) if name not in ("background", IGNORE)]
