"""MergePlan: the annotation of the merged dataset, and for each input dataset what each of its stored values becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnunetv2_cdpd.annotation import Annotation, MergedLabel, check_annotation
from nnunetv2_cdpd.classes import compatible_pairs
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.naming import IGNORE, Naming, Spelling, kept_names, resolve_names
from nnunetv2_cdpd.merge.nesting import Nesting, resolve_nesting
from nnunetv2_cdpd.merge.scoped import with_scopes
from nnunetv2_cdpd.merge.sources import resolve_sources, specs_of
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec
from nnunetv2_cdpd.merge.telling import near_misses, parts_held_apart, tumors_without_organ


@dataclass(frozen=True)
class MergePlan:
    """What a merge will do.

    annotation: Of the merged dataset, without `case_source`.
    source_names: For each input dataset: its source -> name of that source in the merged dataset.
    value_maps: For each input dataset: stored value -> merged value; every declared value is in it.
    notes: What was decided by default, for the user.
    naming: What each label became; `naming.stands_for`: class -> the classes that it may be, for a later merge with datasets
        that tell them apart.
    spelling: Of every name.
    nesting: What lies in what.
    nested: What the YAML says of that, in merged names.
    compatible: Pairs that the class table alone does not give.
    spec: The YAML, and its entry of each input dataset.
    """

    annotation: Annotation
    source_names: tuple[Mapping[str, str], ...]
    value_maps: tuple[Mapping[int, int], ...]
    notes: tuple[str, ...]
    naming: Naming
    spelling: Spelling = field(compare=False)
    nesting: Nesting
    nested: Mapping[str, tuple[str, ...]]
    compatible: frozenset[frozenset[str]]
    spec: MergeSpec = field(compare=False)
    said: tuple[DatasetSpec, ...] = field(compare=False)


def plan_merge(inputs: Sequence[RawDataset], spec: MergeSpec) -> MergePlan:
    """Decide classes, stored values, nesting and sources of the merged dataset.

    Raises:
        UserError: The YAML and the datasets contradict each other; names the entry and the way out.
    """
    said = specs_of(inputs, spec)
    specs = with_scopes(inputs, said, spec)
    spelling = Spelling(kept_names(inputs, said))
    naming = resolve_names(inputs, specs, spec, spelling)
    nested = {spelling(name): spelling.all(parents) for name, parents in spec.nested.items()}
    pairs = [spelling.all(pair) for pair in spec.compatible]
    _check_apart(spec.path, nested, pairs)
    _check_known(spec.path, "nested", [name for item in nested.items() for name in (item[0], *item[1])], naming)
    prompts = {spelling(name): words for name, words in spec.prompts.items()}
    if len(prompts) < len(spec.prompts):
        raise UserError(
            f"{spec.path}: `prompts` names a class twice, in two spellings: {', '.join(spec.prompts)}; give each once"
        )
    _check_known(spec.path, "prompts", list(prompts), naming)
    _check_known(spec.path, "compatible", [name for pair in pairs for name in pair], naming)

    dropped = {spelling(label) for t in naming.targets for label, goal in t.items() if goal is None} - set(naming.classes)
    in_inputs = [_nesting_of(dataset.annotation, target, naming) for dataset, target in zip(inputs, naming.targets)]
    nesting, overlapping, notes = resolve_nesting(naming.classes, sorted(dropped), nested, in_inputs)
    classes = nesting.outer_to_inner(naming.classes, spec.where)

    meanings = [_meanings(dataset, target, naming, nesting, spelling) for dataset, target in zip(inputs, naming.targets)]
    values = _stored_values(classes, nesting, naming, meanings)
    merged = tuple(MergedLabel(name, values[name], group) for name, group in naming.merged_labels.items())
    sources, source_names, of_sources = resolve_sources(inputs, specs, naming, classes, spelling)
    compatible = frozenset(overlapping | {frozenset(pair) for pair in pairs})
    annotation = Annotation(
        classes=classes,
        values=tuple(values[nesting.closure(name)] for name in classes),
        regions=tuple(
            tuple(sorted(value for meaning, value in values.items() if isinstance(meaning, frozenset) and name in meaning))
            for name in classes
        ),
        sources=sources,
        merged_labels=merged,
        possible_parents={name: nesting.possible[name] for name in classes if nesting.possible.get(name)},
        compatible=compatible_pairs(classes) | compatible | _compatible_of(inputs, naming),
        ignore_value=values.get(IGNORE),
        class_prompts=_class_prompts(inputs, naming, classes, prompts),
    )
    _check_annotated(annotation, spec.where)
    check_annotation(annotation, spec.where)
    value_maps = tuple({value: values[meaning] for value, meaning in meaning_of.items()} for meaning_of in meanings)
    to_look_at = [
        *near_misses(inputs, said, naming),
        *tumors_without_organ(inputs, naming, nesting, nested),
        *parts_held_apart(annotation, nested),
    ]
    notes = [*naming.notes, *notes, *of_sources, *to_look_at]
    return MergePlan(
        annotation, source_names, value_maps, tuple(notes), naming, spelling, nesting, nested, compatible, spec, tuple(said)
    )


# ---- stored values ---------------------------------------------------------------------------------------------------

Meaning = frozenset[str] | str  # the classes that a voxel belongs to (none: background), or a merged label's name, or IGNORE


def _meanings(
    dataset: RawDataset, target: Mapping[str, str | None], naming: Naming, nesting: Nesting, spelling: Spelling
) -> dict[int, Meaning]:
    """What each declared stored value of an input dataset means in the merged one."""
    annotation = dataset.annotation
    labels: dict[int, list[str]] = {0: []}
    for name, region in zip(annotation.classes, annotation.regions):
        for value in region:
            labels.setdefault(value, []).append(name)
    labels.update({label.value: [label.name] for label in annotation.merged_labels})
    meanings: dict[int, Meaning] = {}
    for value, names in sorted(labels.items()):
        goals = {goal for name in names if (goal := target[name]) is not None}
        dropped = {spelling(name) for name in names if target[name] is None}
        if IGNORE in goals:
            meanings[value] = IGNORE
            continue
        groups = {goal for goal in goals if goal in naming.merged_labels}
        certain: frozenset[str] = frozenset().union(*(nesting.closure(goal) for goal in goals - groups))
        for name in dropped:  # a dropped tumor is still liver
            certain |= nesting.closure(name) - {name}
            groups |= _group_of_parents(name, certain, dataset, naming, nesting)
        groups = {group for group in groups if not _implied(naming.merged_labels[group], certain, nesting)}
        groups -= {group for group in groups if any(_says_more(other, group, naming, nesting) for other in groups - {group})}
        if len(groups) > 1 or (groups and certain):
            keep = ", ".join(f"{group}: null" for group in sorted(groups))
            raise UserError(
                f"{dataset.name}: value {value} would be {' and '.join(sorted({*certain, *groups}))} at once, which cannot be "
                f"stored; say in the YAML under `nested` what lies in what, map one of {', '.join(names)} to another name, or "
                f"keep what has no side a class of its own, `merged_labels: {{{keep}}}`"
            )
        meanings[value] = groups.pop() if groups else certain
    if annotation.ignore_value is not None:
        meanings[annotation.ignore_value] = IGNORE
    return meanings


def _group_of_parents(name: str, certain: frozenset[str], dataset: RawDataset, naming: Naming, nesting: Nesting) -> set[str]:
    """The merged label that is left of a dropped label which lies in one of several classes."""
    parents = set(nesting.possible.get(name, ()))
    if not parents or not certain.isdisjoint(parents):
        return set()
    for group, classes in naming.merged_labels.items():
        if set(classes) == parents:
            return {group}
    raise UserError(
        f"{dataset.name}: {name!r} is dropped, but lies in {' or '.join(sorted(parents))}, not known which; keep it, or map "
        f"it to ignore in the YAML, `labels: {{{name}: ignore}}`"
    )


def _implied(group: Sequence[str], certain: frozenset[str], nesting: Nesting) -> bool:
    """Whether classes already say that a voxel belongs to one of a group: it is one, or lies in one of them."""
    possible = [nesting.possible[name] for name in certain if nesting.possible.get(name)]
    return not certain.isdisjoint(group) or any(set(parents) <= set(group) for parents in possible)


def _says_more(other: str, group: str, naming: Naming, nesting: Nesting) -> bool:
    """Whether a merged label says all that another one does, as a cyst of either side lies in a kidney of either side; of two
    that say the same it is the first by name.
    """

    def implies(one: str, two: str) -> bool:
        classes = naming.merged_labels[two]
        return all(_implied(classes, nesting.closure(name), nesting) for name in naming.merged_labels[one])

    return implies(other, group) and not (implies(group, other) and group < other)


def _stored_values(
    classes: Sequence[str], nesting: Nesting, naming: Naming, meanings: Sequence[Mapping[int, Meaning]]
) -> dict[Meaning, int]:
    """Number the meanings: classes from outer to inner, overlaps of classes, merged labels, ignore (nnU-Net: consecutive)."""
    met = dict.fromkeys(meaning for meaning_of in meanings for meaning in meaning_of.values())
    own: list[Meaning] = [nesting.closure(name) for name in classes]
    overlaps = [meaning for meaning in met if isinstance(meaning, frozenset) and meaning and meaning not in own]
    ordered: list[Meaning] = [frozenset(), *own, *overlaps, *naming.merged_labels, *([IGNORE] if IGNORE in met else [])]
    return {meaning: value for value, meaning in enumerate(ordered)}


# ---- what the input datasets say, in merged names --------------------------------------------------------------------


def _nesting_of(annotation: Annotation, target: Mapping[str, str | None], naming: Naming) -> Nesting:
    """Nesting by regions (a class whose values all lie in another's) and possible parents of one input dataset."""
    region_of = dict(zip(annotation.classes, map(frozenset, annotation.regions)))
    around: dict[str, list[frozenset[str]]] = {}  # merged class -> for each label that became it, what that one lies in
    possible: dict[str, tuple[str, ...]] = {}
    for name, region in region_of.items():
        child = target[name]
        if child is None or child not in naming.classes:
            continue
        outer = [goal for other, its in region_of.items() if region < its and (goal := target[other]) is not None]
        around.setdefault(child, []).append(frozenset(goal for goal in outer if goal in naming.classes) - {child})
        groups = [naming.merged_labels[goal] for goal in outer if goal in naming.merged_labels]
        parents = tuple(dict.fromkeys(target[parent] for parent in annotation.possible_parents.get(name, ())))
        if groups:
            possible[child] = groups[0]
        elif parents and set(parents) <= set(naming.classes) - {child}:
            possible[child] = tuple(parent for parent in parents if parent is not None)
    certain = {child: frozenset.intersection(*sets) for child, sets in around.items()}
    for child, parents in list(possible.items()):
        if len(parents) == 1:  # both sides have become one class
            certain[child] |= set(possible.pop(child))
    return Nesting(certain, possible)


def _compatible_of(inputs: Sequence[RawDataset], naming: Naming) -> set[frozenset[str]]:
    pairs = [
        frozenset(goal for name in pair if (goal := target[name]) in naming.classes)
        for dataset, target in zip(inputs, naming.targets)
        for pair in dataset.annotation.compatible
    ]
    return {pair for pair in pairs if len(pair) == 2}


def _class_prompts(
    inputs: Sequence[RawDataset], naming: Naming, classes: Sequence[str], said: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Sentences in the user's own words: of the YAML, else all that the datasets bring along."""
    found: dict[str, list[str]] = {}
    for dataset, target in zip(inputs, naming.targets):
        for name, words in dataset.annotation.class_prompts.items():
            if (goal := target[name]) in naming.classes:
                found.setdefault(str(goal), []).extend(words)
    found |= {name: list(words) for name, words in said.items()}
    return {name: tuple(dict.fromkeys(found[name])) for name in classes if found.get(name)}


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_known(path: str, key: str, names: Sequence[str], naming: Naming) -> None:
    if unknown := sorted(set(names) - set(naming.classes)):
        raise UserError(f"{path}: `{key}` names {', '.join(unknown)}, the merged classes are {', '.join(naming.classes)}")


def _check_apart(path: str, nested: Mapping[str, Sequence[str]], pairs: Sequence[Sequence[str]]) -> None:
    """Raise UserError for a class that the YAML relates to itself."""
    for name, parents in nested.items():
        if name in parents:
            raise UserError(f"{path}: `nested` says that {name} lies in itself; name another class, or null for none")
    for pair in pairs:
        if len(set(pair)) < 2:
            raise UserError(f"{path}: `compatible` pairs {pair[0]} with itself; name two classes")


def _check_annotated(annotation: Annotation, where: str) -> None:
    """Raise UserError for classes that no source annotates."""
    annotated = frozenset().union(*(annotation.annotated_with_merged(source) for source in annotation.sources))
    if orphans := [name for name in annotation.classes if name not in annotated]:
        raise UserError(
            f"{where}: no source annotates {', '.join(orphans)}; drop them in the YAML (`labels: {{name: null}}`) or add them to "
            "what a source `annotates`"
        )
