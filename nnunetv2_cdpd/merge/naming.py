"""Naming: what each label of each input dataset is called in the merged dataset, a class or a merged label."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnunetv2_cdpd.classes import ClassKey, canonical_name, class_key, name_key, normal_words, side_of, structure
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import mapping, texts, yaml_line
from nnunetv2_cdpd.merge.nesting import sides_of
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec

IGNORE = "ignore"  # nnU-Net's name of the ignore label
BACKGROUND = "background"


@dataclass(frozen=True)
class Naming:
    """The names of a merged dataset.

    classes: In order of first appearance.
    merged_labels: Name -> the classes that it may be.
    targets: For each input dataset: its label name (class or merged label) -> merged name, IGNORE, or None if dropped.
    notes: What was decided by default.
    stands_for: Class -> the classes that it may be, which no dataset of this merge tells apart.
    """

    classes: tuple[str, ...]
    merged_labels: Mapping[str, tuple[str, ...]]
    targets: tuple[Mapping[str, str | None], ...]
    notes: tuple[str, ...]
    stands_for: Mapping[str, tuple[str, ...]]


class Spelling:
    """One spelling per class, whatever name it comes by: the class table's; else the first one met (the YAML is met before the
    datasets), unless it is another name of what the table of synonyms knows.

    Args:
        kept: Names that stay as they are, because the YAML says so.
    """

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self._kept = {name_key(name): name for name in kept}
        self._spelled: dict[str, str] = {}
        self._by_meaning: dict[ClassKey, str] = {}

    def __call__(self, name: str) -> str:
        letters = name_key(name)
        if letters in self._kept:
            return self._kept[letters]
        if letters not in self._spelled:
            self._spelled[letters] = self._by_meaning.setdefault(class_key(name), _own_spelling(name))
        return self._spelled[letters]

    def all(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(self, names)))


def resolve_names(inputs: Sequence[RawDataset], specs: Sequence[DatasetSpec], spec: MergeSpec, spelling: Spelling) -> Naming:
    """Name every label of every input dataset.

    Args:
        specs: What the YAML says about each input dataset.
        spec: The whole YAML.
        spelling: Filled with the names.

    Raises:
        UserError: The YAML names a label that its dataset does not have, or merged labels contradict each other.
    """
    spelling.all([name for item in (*spec.merged_labels.items(), *spec.nested.items()) for name in (item[0], *item[1])])
    targets = [_targets(dataset, entry, spec.path, spelling) for dataset, entry in zip(inputs, specs)]
    declared = {spelling(name): spelling.all(classes) for name, classes in spec.merged_labels.items()}
    merged = _merged_labels(inputs, targets, declared)
    notes = []
    classes = _class_names(targets, merged)
    stands_for = _stands_for(inputs, targets, spelling)

    for name in [name for name in classes if name not in declared]:
        sides = stands_for.get(name) or sides_of(name, classes)
        if sides is None or not set(sides) <= set(classes):
            continue
        if any(name in t.values() and not set(sides).isdisjoint(t.values()) for t in targets):
            continue  # a dataset that holds a name beside its sides means something by it: a class that contains them
        sides = tuple(sorted(sides, key=classes.index))
        same = next((other for other, group in merged.items() if set(group) == set(sides)), name)
        merged.setdefault(same, sides)
        for dataset, target in zip(inputs, targets):
            for label in [label for label, goal in target.items() if goal == name]:
                target[label] = same
                notes.append(
                    f"{dataset.name}: {label!r} becomes the merged label {same!r} ({' or '.join(sides)}, side not known); "
                    f"`merged_labels: {{{name}: null}}` in the YAML keeps it a class of its own"
                )

    used = {goal for target in targets for goal in target.values()}
    unused = [name for name, group in declared.items() if group and name not in used]
    notes += [f"merged label {name!r} of the YAML is not used by any dataset" for name in unused]
    merged = {name: group for name, group in merged.items() if name in used}
    classes = _class_names(targets, merged)
    stands_for = {name: meant for name, meant in stands_for.items() if name in classes}
    return Naming(classes, merged, tuple(targets), tuple(notes), stands_for)


def wanted_names(dataset: RawDataset, spec: DatasetSpec, path: str) -> dict[str, str | None]:
    """What each label of a dataset shall be called: as the YAML says, else as it is called; None to drop it.

    Raises:
        UserError: The YAML names a label that the dataset does not have, or two labels would silently become one class.
    """
    labels = labels_of(dataset)
    same_key: dict[str, list[str]] = {}
    for label in labels:
        same_key.setdefault(name_key(label), []).append(label)
    meant = {name: [name] if name in labels else same_key.get(name_key(name), []) for name in spec.labels}
    if unknown := [name for name, found in meant.items() if len(found) != 1]:
        raise UserError(f"{path}: {dataset.name} has no label {', '.join(unknown)}; it has {', '.join(labels)}")
    said = {meant[name][0]: target for name, target in spec.labels.items()}
    wanted = {label: said.get(label, label) for label in labels}
    for label, goal in wanted.items():
        if goal is not None and name_key(goal) == BACKGROUND:
            line = label_line(dataset, label, None)
            where = f"{path}: datasets: {dataset.name}" if label in said else dataset.name
            raise UserError(f"{where}: label {label!r}: background is no class; `{line}` in the YAML drops the label")
    for label in (label for label in labels if label not in said):
        for other in (other for other in labels if other != label):
            goal = wanted[other]
            spelled_alike = other in same_key[name_key(label)] and goal is not None and name_key(goal) == name_key(label)
            if spelled_alike or (spec.synonyms and other not in said and class_key(other) == class_key(label)):
                both = " and ".join(map(repr, sorted((label, other), key=labels.index)))
                name = canonical_name(label) or other
                why = "differ only in case, `_`, `-` or spaces, which do not count" if spelled_alike else "are names of one class"
                raise UserError(
                    f"{dataset.name}: labels {both} {why}; rename one in the YAML, "
                    f"`{label_line(dataset, label, 'another_name')}`, or map both to {name} there"
                )
    return wanted


def labels_of(dataset: RawDataset) -> tuple[str, ...]:
    """Names of the classes and merged labels of an input dataset."""
    return (*dataset.annotation.classes, *(label.name for label in dataset.annotation.merged_labels))


def label_line(dataset: RawDataset, label: str, target: str | None) -> str:
    """The YAML line that gives a label of a dataset its name in the merged one."""
    return yaml_line({"datasets": {dataset.name: {"labels": {label: target}}}})


def kept_names(inputs: Sequence[RawDataset], specs: Sequence[DatasetSpec]) -> tuple[str, ...]:
    """Names that stay though the tables know another: those that the YAML maps to themselves, and those of datasets for which it
    says `synonyms: false`.
    """
    kept = []
    for dataset, entry in zip(inputs, specs):
        kept += [label for label, target in entry.labels.items() if target == label]
        if not entry.synonyms:
            kept += [*labels_of(dataset), *(target for target in entry.labels.values() if target is not None)]
    return tuple(name for name in kept if name_key(_own_spelling(name)) != name_key(name))


def _own_spelling(name: str) -> str:
    table, known = structure(name).name, canonical_name(name)
    if table != name or known is None or name_key(known) == name_key(name):
        return table
    only_rules = side_of(name) is None and normal_words(known) == normal_words(name)  # "Lungs"
    return name if only_rules else known


def _targets(dataset: RawDataset, spec: DatasetSpec, path: str, spelling: Spelling) -> dict[str, str | None]:
    targets: dict[str, str | None] = {}
    for label, target in wanted_names(dataset, spec, path).items():
        if target is None:
            targets[label] = None
        else:
            targets[label] = IGNORE if name_key(target) == IGNORE else spelling(target)
    return targets


def _stands_for(
    inputs: Sequence[RawDataset], targets: Sequence[Mapping[str, str | None]], spelling: Spelling
) -> dict[str, tuple[str, ...]]:
    """What the input datasets say that some of their classes may be, where another dataset tells (`cdpd convert` writes it)."""
    found: dict[str, tuple[str, ...]] = {}
    for dataset, target in zip(inputs, targets):
        where = f"{dataset.dataset_json.path}: cdpd: stands_for"
        for name, meant in mapping(dataset.dataset_json.content.get("cdpd", {}).get("stands_for"), where).items():
            goal = target.get(name)
            if goal is not None and goal != IGNORE:
                found.setdefault(goal, spelling.all(texts(meant, f"{where}: {name}")))
    return found


def _merged_labels(
    inputs: Sequence[RawDataset], targets: Sequence[dict[str, str | None]], declared: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Merged labels of the YAML and of the input datasets; those whose classes have become one class turn into it."""
    merged = {name: group for name, group in declared.items() if group}
    if few := next((name for name, group in merged.items() if len(group) < 2), None):
        raise UserError(f"merged label {few!r} of the YAML needs at least two classes, has {', '.join(merged[few])}")
    for dataset, target in zip(inputs, targets):
        for label in dataset.annotation.merged_labels:
            name = target[label.name]
            if name is None or name == IGNORE or name in declared:
                continue
            goals = {member: target[member] for member in label.classes}
            group = tuple(dict.fromkeys(goal for goal in goals.values() if goal is not None and goal != IGNORE))
            if gone := ", ".join(member for member, goal in goals.items() if goal in (None, IGNORE)):
                raise UserError(
                    f"{dataset.name}: {gone} is dropped, but its merged label {label.name!r} may mean it; "
                    f"drop that one in the YAML too, `labels: {{{label.name}: null}}`"
                )
            if len(group) == 1:
                target[label.name] = group[0]
            elif set(merged.setdefault(name, group)) != set(group):
                raise UserError(
                    f"{dataset.name}: merged label {name!r} means {' or '.join(group)} here and {' or '.join(merged[name])} "
                    "elsewhere; rename it in the YAML under `labels`"
                )
    return merged


def _class_names(targets: Sequence[Mapping[str, str | None]], merged: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    names = [goal for target in targets for goal in target.values() if goal is not None and goal != IGNORE]
    return tuple(dict.fromkeys(member for name in names for member in merged.get(name, (name,))))
