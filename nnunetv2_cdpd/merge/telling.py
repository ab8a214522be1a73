"""Telling: what became of every name, and what a person should look at: near misses, tumors without an organ, renamed classes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nnunetv2_cdpd.classes import canonical_name, class_key, name_key, nearly_same, organ_of, says_tumor
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.jobs.tables import aligned
from nnunetv2_cdpd.jobs.yaml_files import yaml_line
from nnunetv2_cdpd.merge.naming import IGNORE, Naming, Spelling, label_line
from nnunetv2_cdpd.merge.nesting import Nesting
from nnunetv2_cdpd.merge.spec import DatasetSpec


def names_table(inputs: Sequence[RawDataset], naming: Naming) -> str:
    """A table dataset x label -> merged class; what got another name is marked with `*`."""
    rows = [("dataset", "label", "merged class", "")]
    for dataset, target in zip(inputs, naming.targets):
        for label, goal in target.items():
            group = " or ".join(naming.merged_labels.get(goal or "", ()))
            what = "(dropped)" if goal is None else "(not supervised)" if goal == IGNORE else goal
            rows.append((dataset.name, label, f"{what} = {group}" if group else what, "" if goal == label else "*"))
    lines = aligned(rows, left=4, last_is_total=False)
    return "\n".join([*lines, "* another name, by the table of synonyms, the rules for spelling or the YAML"])


def near_misses(inputs: Sequence[RawDataset], specs: Sequence[DatasetSpec], naming: Naming) -> list[str]:
    """Labels that no table knows but that are nearly the name of a class, with the YAML line that unites the two."""
    notes = []
    for dataset, entry, target in zip(inputs, specs, naming.targets):
        own = {class_key(goal) for goal in target.values() if goal is not None}
        others = [name for name in naming.classes if class_key(name) not in own]
        for label, goal in target.items():
            if label in entry.labels or goal is None or goal == IGNORE or canonical_name(label) is not None:
                continue
            like = nearly_same(label, others)
            if like is not None and class_key(like) not in own:
                line = label_line(dataset, label, like)
                notes.append(f"{dataset.name}: {label!r} is nearly {like!r}; if it is the same, write `{line}` in the YAML")
    return notes


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
        fits = tuple(other for other in naming.classes if class_key(other).base == organ_of(name))
        beside = dict.fromkeys(
            naming.merged_labels.get(goal, (goal,))
            for _, target in holders
            for goal in target.values()
            if goal is not None and goal not in (IGNORE, name) and not says_tumor(goal)
        )
        groups = [fits] if fits else list(beside)
        if len(groups) == 1:
            line = yaml_line({"nested": {name: groups[0][0] if len(groups[0]) == 1 else list(groups[0])}})
            notes.append(f"{name} lies in no class; `{line}` in the YAML gives it one")
        elif groups:
            choice = ", ".join(" and ".join(group) for group in groups[:10])
            notes.append(f"{name} lies in no class; `nested: {{{name}: ORGAN}}` in the YAML gives it one (beside it: {choice})")
        elif organ_of(name) is None:
            notes.append(
                f"{name} lies in no class, and its dataset has no organ; `nested: {{{name}: ORGAN}}` in the YAML gives it one "
                f"of {', '.join(other for other in naming.classes if not says_tumor(other)) or 'another dataset'}"
            )
        if len(holders) > 1 and organ_of(name) is None:
            lines = "; ".join(label_line(dataset, _label_of(target, name), f"ORGAN_{name}") for dataset, target in holders)
            notes.append(f"{name} is one class for {len(holders)} datasets; if it is of another organ in each: `{lines}`")
    return notes


def renamed_classes(old: Any, naming: Naming, spelling: Spelling) -> dict[str, str]:
    """Classes and merged labels of an earlier merge that this one gives another name: old -> new.

    Args:
        old: Content of the dataset.json that the earlier merge wrote; None if there is none.
    """
    content = old if isinstance(old, Mapping) else {}
    names = [*_keys(content.get("labels")), *_keys(_mapping(content.get("cdpd")).get("merged_labels"))]
    now = {*naming.classes, *naming.merged_labels}
    return {name: spelling(name) for name in names if name not in now and spelling(name) in now}


def lines_that_keep(renamed: Mapping[str, str], inputs: Sequence[RawDataset], naming: Naming) -> list[str]:
    """The YAML lines that give classes the names that they had, of those that a dataset calls so."""
    return [
        label_line(dataset, label, label)
        for dataset, target in zip(inputs, naming.targets)
        for label, goal in target.items()
        if label in renamed and goal == renamed[label] and name_key(label) != name_key(goal)
    ]


def _label_of(target: Mapping[str, str | None], name: str) -> str:
    return next(label for label, goal in target.items() if goal == name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _keys(value: Any) -> list[str]:
    return [name for name in _mapping(value) if name not in ("background", IGNORE)]
