"""Joining: the labels of a model and of a further dataset as one annotation, in which all that the model knew keeps its value.

What a label of the dataset means is decided as `cdpd merge` decides it: by name (synonyms included), by the dataset's regions
and merged labels, and by the class table; the model's own labels stay as they are.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Annotation, MergedLabel, Source, check_annotation, dataset_json_entries
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.evaluation.matching import name_finder
from nnunetv2_cdpd.merge.naming import labels_of
from nnunetv2_cdpd.merge.plan import MergePlan, plan_merge
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec, SourceSpec


@dataclass(frozen=True)
class Joined:
    """What the labels of an extended model are.

    former: The model's annotation.
    annotation: Of the extended model; the former classes keep their names, values and order.
    value_map: Stored value of the further dataset -> of the extended model.
    case_names: Case of the further dataset -> what it is called beside the model's cases.
    known: Labels of the further dataset that the model has already -> what it calls them.
    notes: What was decided by default.
    """

    former: Annotation
    annotation: Annotation
    value_map: Mapping[int, int]
    case_names: Mapping[str, str]
    known: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def new_classes(self) -> tuple[str, ...]:
        return tuple(name for name in self.annotation.classes if name not in self.former.classes)

    @property
    def new_sources(self) -> tuple[Source, ...]:
        return self.annotation.sources[len(self.former.sources) :]


def join_labels(folder: Path, content: Mapping[str, Any], dataset: RawDataset) -> Joined:
    """Join the labels of a model and of a further dataset.

    Args:
        folder: Of the model.
        content: Its dataset.json.

    Raises:
        UserError: The dataset has nothing new, or its labels cannot be told apart from the model's.
    """
    model = RawDataset(str(folder), DatasetJson(folder / FILE_NAME, content), (), ())
    former = model.annotation
    plan = _plan(model, dataset, {})
    if changed := _changed_nesting(former, plan):  # by the class table, which speaks for the new ones only
        plan = _plan(model, dataset, {name: _parents(former, plan, name) for name in changed})
    rename = _names(model, dataset, plan)
    values = _values(former, plan)
    new = [rename(name) for name in plan.annotation.classes if rename(name) not in former.classes]
    if not new:
        all_known = sorted({rename(name) for name in plan.naming.targets[1].values() if name is not None})
        raise UserError(
            f"{dataset.name}: nothing new for {folder}, which has all of {listed(all_known)} already; `cdpd train` with "
            "-pretrained_weights trains a model further"
        )
    annotation = _annotation(former, plan, new, rename, values)
    case_source, case_names = _cases(former, dataset, plan)
    annotation = replace(annotation, case_source=case_source)
    check_annotation(annotation, dataset.dataset_json.path)
    _check_former(former, annotation, dataset)
    known = {
        label: rename(goal)
        for label, goal in plan.naming.targets[1].items()
        if goal is not None and (rename(goal) in former.classes or goal in plan.naming.merged_labels)
    }
    value_map = {value: values[merged] for value, merged in plan.value_maps[1].items()}
    return Joined(former, annotation, value_map, case_names, known, plan.notes)


def joined_dataset_json(content: Mapping[str, Any], joined: Joined, history: str) -> dict[str, Any]:
    """The dataset.json of the extended model: the model's, with the labels and sources of both.

    Args:
        history: How the extended model came to be, for its description.
    """
    entries = dataset_json_entries(joined.annotation)
    block = {**content.get("cdpd", {}), **entries["cdpd"]}
    added, number = len(joined.case_names), content.get("numTraining")
    for name, entry in content.get("cdpd", {}).get("sources", {}).items():
        block["sources"][name] |= {"cases": entry["cases"]} if "cases" in entry else {}
    if not joined.former.case_source and len(joined.former.sources) == 1 and type(number) is int:
        block["sources"][joined.former.sources[0].name]["cases"] = number  # which no list of cases tells
    described = content.get("description")
    licenses = {f"{s.name}: {s.license}": None for s in joined.annotation.sources if s.license}
    told: dict[str, Any] = {"licence": "; ".join(licenses)} if licenses else {}
    return {
        **{key: value for key, value in content.items() if key not in ("dataset", "license", "reference")},
        **told,
        **entries,
        "description": f"{described}; {history}" if isinstance(described, str) and described else history,
        "cdpd": block,
        "numTraining": (number if type(number) is int else 0) + added,
    }


def _plan(model: RawDataset, dataset: RawDataset, nested: Mapping[str, tuple[str, ...]]) -> MergePlan:
    """The plan of a merge of both; where it wants a YAML, which there is not here, a dataset merged by one is the way out."""
    try:
        return plan_merge([model, dataset], _spec(model, dataset, nested))
    except UserError as error:
        if "YAML" not in str(error):
            raise
        way_out = f"a YAML for `cdpd merge` of {dataset.name} alone; extend by the dataset that it makes"
        raise UserError(f"{error} ({way_out})") from error


def _spec(model: RawDataset, dataset: RawDataset, nested: Mapping[str, tuple[str, ...]]) -> MergeSpec:
    """The labels of the model stay classes of their own, and the dataset's that mean one of them get its name; sources of the
    dataset whose names it has get other ones.
    """
    taken = {source.name for source in model.annotation.sources}
    sources = {}
    for source in dataset.annotation.sources:
        name, number = dataset.source_name(source), 2
        while name in taken:
            name, number = f"{dataset.source_name(source)}_{number}", number + 1
        taken.add(name)
        sources[source.name] = SourceSpec(name=name)
    return MergeSpec(
        path=f"extension of {model.name}",
        datasets={
            str(model.folder): DatasetSpec(labels={label: label for label in labels_of(model)}),
            str(dataset.folder): DatasetSpec(labels=_known_labels(model, dataset), sources=sources),
        },
        nested=nested,
        merged_labels=dict.fromkeys(model.annotation.classes, ()),
        compatible=(),
        scoped={},
    )


def _known_labels(model: RawDataset, dataset: RawDataset) -> dict[str, str]:
    """Label of the dataset -> the model's of that meaning, however either spells it; of two for one, `plan_merge` tells."""
    find = name_finder(labels_of(model))
    found = {label: name for label in labels_of(dataset) if (name := find(label)) is not None}
    times = Counter(found.values())
    return {label: name for label, name in found.items() if times[name] == 1}


def _changed_nesting(former: Annotation, plan: MergePlan) -> list[str]:
    """Former classes that the plan puts into former ones where the model does not, or the other way round."""
    target = plan.naming.targets[0]
    changed = []
    for name in former.classes:
        before = {target[other] for other in former.lies_in(name)}
        after = plan.nesting.closure(target[name] or name) - {target[name]} | set(
            plan.nesting.possible.get(target[name] or name, ())
        )
        if before != after & {target[other] for other in former.classes}:
            changed.append(name)
    return changed


def _parents(former: Annotation, plan: MergePlan, name: str) -> tuple[str, ...]:
    """What a former class lies in directly: for the model in former ones, by the plan in new ones."""
    target = plan.naming.targets[0]
    around = former.lies_in(name)
    if name not in former.possible_parents and around:
        regions = dict(zip(former.classes, former.regions))
        around = (min(around, key=lambda other: len(regions[other])),)
    own = set(map(target.get, former.classes))
    new = tuple(parent for parent in plan.nesting.certain.get(target[name] or name, ()) if parent not in own)
    return tuple(target[other] or other for other in around) or new


def _names(model: RawDataset, dataset: RawDataset, plan: MergePlan) -> Callable[[str], str]:
    """Merged name -> the model's name of it, else the dataset's own."""
    names: dict[str, str] = {}
    for inputs, target in zip((model, dataset), plan.naming.targets):
        of_goal: dict[str, list[str]] = {}
        for label, goal in target.items():
            if goal is not None:
                of_goal.setdefault(goal, []).append(label)
        for goal, labels in of_goal.items():
            if inputs is model and len(labels) > 1:
                raise UserError(
                    f"{dataset.name}: {' and '.join(labels)} of the model would be one class with its labels; rename them"
                )
            if len(labels) == 1:
                names.setdefault(goal, labels[0])
    return lambda name: names.get(name, name)


def _values(former: Annotation, plan: MergePlan) -> dict[int, int]:
    """Value of the plan -> that of the extended model: the former one, or the next that is free; ignore is the highest."""
    ignore = plan.annotation.ignore_value
    values = {merged: value for value, merged in plan.value_maps[0].items() if merged != ignore}
    following = 1 + max(values.values())
    everything = {0, *plan.annotation.values, *(v for region in plan.annotation.regions for v in region)}
    for merged in sorted((everything | {label.value for label in plan.annotation.merged_labels}) - _unused(former, plan)):
        if merged not in values and merged != ignore:
            values[merged], following = following, following + 1
    return values if ignore is None else {**values, ignore: following}


def _unused(former: Annotation, plan: MergePlan) -> set[int]:
    """Values that the plan has for the rest of a former class that its parts fill: unless the further dataset tells them apart,
    no voxel has one.
    """
    value_of = dict(zip(plan.annotation.classes, plan.annotation.values))
    own = {value_of[goal] for name in former.classes if (goal := plan.naming.targets[0][name]) in value_of}
    return own - {value for value_map in plan.value_maps for value in value_map.values()}


def _annotation(
    former: Annotation, plan: MergePlan, new: Sequence[str], rename: Callable[[str], str], values: Mapping[int, int]
) -> Annotation:
    merged = plan.annotation
    region_of = {
        rename(name): tuple(sorted(values[v] for v in region if v in values))
        for name, region in zip(merged.classes, merged.regions)
    }
    value_of = {rename(name): values[value] for name, value in zip(merged.classes, merged.values) if value in values}
    value_of |= dict(zip(former.classes, former.values))  # that of a part, where parts fill the class
    possible = {rename(name): tuple(map(rename, parents)) for name, parents in merged.possible_parents.items()}
    pairs = {frozenset(map(rename, pair)) for pair in merged.compatible}
    classes = _in_order(former.classes, new, region_of, possible, pairs)
    known_labels = {label.name: label for label in former.merged_labels}
    labels = [
        known_labels.get(rename(label.name))
        or MergedLabel(rename(label.name), values[label.value], tuple(map(rename, label.classes)))
        for label in merged.merged_labels
    ]
    sources = [
        replace(
            source,
            annotated_classes=tuple(map(rename, source.annotated_classes)),
            merged_labels=tuple(map(rename, source.merged_labels)),
        )
        for source in merged.sources[len(former.sources) :]
    ]
    return Annotation(
        classes=classes,
        values=tuple(value_of[name] for name in classes),
        regions=tuple(region_of[name] for name in classes),
        sources=(*former.sources, *sources),
        merged_labels=tuple(labels),
        possible_parents={name: possible[name] for name in classes if possible.get(name)},
        compatible=former.compatible | {pair for pair in pairs if not pair.isdisjoint(new)},
        ignore_value=None if merged.ignore_value is None else values[merged.ignore_value],
        class_prompts=dict(former.class_prompts)
        | {rename(name): words for name, words in merged.class_prompts.items() if rename(name) in new},
    )


def _in_order(
    former: Sequence[str],
    new: Sequence[str],
    region_of: Mapping[str, Sequence[int]],
    possible: Mapping[str, Sequence[str]],
    compatible: Collection[frozenset[str]],
) -> tuple[str, ...]:
    """The former classes in their order, each new one after what it lies in and before what lies in it, the last if possible.

    nnU-Net paints label maps in this order: a new class that may overlap a former one comes before it, and leaves it whole.
    """
    classes = list(former)

    def lies_in(name: str, other: str) -> bool:
        return set(region_of[name]) < set(region_of[other]) or other in possible.get(name, ())

    for name in new:
        after = 1 + max((k for k, other in enumerate(classes) if lies_in(name, other)), default=-1)
        before = min((k for k, other in enumerate(classes) if lies_in(other, name)), default=len(classes))
        if after > before:
            raise UserError(
                f"{name} lies in {classes[after - 1]} and holds {classes[before]}, which the model has in the other order; it "
                "cannot be added"
            )
        overlapped = min((k for k, other in enumerate(classes) if frozenset((name, other)) in compatible), default=before)
        classes.insert(max(after, min(before, overlapped)), name)
    return tuple(classes)


def _cases(former: Annotation, dataset: RawDataset, plan: MergePlan) -> tuple[dict[str, str], dict[str, str]]:
    """Source of every case, and what the dataset's cases are called: a case of the same name may be another one."""
    case_source, names = dict(former.case_source or {}), {}
    for case in dataset.cases:
        source = dataset.annotation.sources[dataset.annotation.source_index(case.identifier)]
        name, number = case.identifier, 2
        while name in case_source:
            name, number = f"{case.identifier}_{number}", number + 1
        names[case.identifier] = name
        case_source[name] = plan.source_names[1][source.name]
    return case_source, names


def _check_former(former: Annotation, annotation: Annotation, dataset: RawDataset) -> None:
    """Raise UserError unless every stored value of the model means the same former classes as before."""
    kept = dict(zip(annotation.classes, zip(annotation.values, annotation.regions)))
    declared = {int(value) for value in former.declared.nonzero()[0]}
    changed = [
        name
        for name, value, region in zip(former.classes, former.values, former.regions)
        if name not in kept or kept[name][0] != value or set(kept[name][1]) & declared != set(region)
    ]
    parents = [name for name in former.classes if _possible(former, name, former) != _possible(annotation, name, former)]
    if changed or parents:
        raise UserError(
            f"{dataset.name}: beside its labels, {listed(sorted({*changed, *parents}))} would no more be what the model knows; "
            f"say in its {FILE_NAME} by regions which class lies in which"
        )


def _possible(annotation: Annotation, name: str, former: Annotation) -> set[str]:
    return set(annotation.possible_parents.get(name, ())) & set(former.classes)
