"""Sources of a merged dataset: one per source of each input dataset, with what the YAML says about it."""

from collections.abc import Mapping, Sequence

from nnunetv2_cdpd.annotation import POSITIVE, Annotation, Source
from nnunetv2_cdpd.datasets.names import as_id
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.naming import IGNORE, Naming, Spelling
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec, SourceSpec


def specs_of(inputs: Sequence[RawDataset], spec: MergeSpec) -> list[DatasetSpec]:
    """The YAML's entry of each input dataset, by id, name or what the user typed for it."""
    entries = dict(spec.datasets)
    found = []
    for dataset in inputs:
        names = {dataset.given, dataset.name, str(dataset.folder), dataset.short_name, _id_of(dataset)}
        keys = [key for key in entries if key in names or (key.isdecimal() and str(int(key)) in names)]
        if len(keys) > 1:
            raise UserError(f"{spec.path}: {', '.join(keys)} are the same dataset, {dataset.name}; keep one entry")
        found.append(entries.pop(keys[0]) if keys else DatasetSpec())
    if entries:
        there = ", ".join(dataset.name for dataset in inputs)
        raise UserError(f"{spec.path}: no dataset {', '.join(entries)} in this merge; there are {there}")
    return found


def _id_of(dataset: RawDataset) -> str:
    number = as_id(dataset.name.partition("_")[0].removeprefix("Dataset"))
    return dataset.name if number is None else str(number)


def resolve_sources(
    inputs: Sequence[RawDataset], specs: Sequence[DatasetSpec], naming: Naming, classes: Sequence[str], spelling: Spelling
) -> tuple[tuple[Source, ...], tuple[dict[str, str], ...], list[str]]:
    """The sources of the merged dataset, for each input dataset the new name of each of its sources, and notes for the user.

    Raises:
        UserError: Two sources of one name, one that annotates no class as a whole, or the YAML speaks of sources or classes
            that a dataset does not have.
    """
    sources: dict[str, Source] = {}
    renamed: list[dict[str, str]] = []
    notes: list[str] = []
    for dataset, spec, target in zip(inputs, specs, naming.targets):
        names = {}
        for source in dataset.annotation.sources:
            said = said_of_source(dataset, spec, source)
            name = source_name(dataset, spec, source)
            if name in sources:
                raise UserError(f"{dataset.name}: its source {name!r} is in another dataset too; give it a `name` in the YAML")
            known = {goal for goal in target.values() if goal is not None and goal != IGNORE}
            partly = known & {target[label] for label in (*source.annotated_classes, *source.merged_labels)}
            goals = {goal for goal in partly if _annotates_all(dataset.annotation, source, target, goal)}
            if said.annotates is None:
                notes += [_note_on_part(dataset, source, target, goal, not goals) for goal in sorted(partly - goals)]
            else:
                goals = set(spelling.all(said.annotates))
                if unknown := sorted(goals - known):
                    raise UserError(
                        f"{dataset.name}: `annotates` names {', '.join(unknown)}, its labels give {', '.join(sorted(known))}"
                    )
            sources[name] = Source(
                name,
                tuple(goal for goal in classes if goal in goals),
                tuple(goal for goal in naming.merged_labels if goal in goals),
                said.task_prompt or source.task_prompt,
                said.license or next(iter(dataset.dataset_json.licenses_of(source)), None),
                said.reference or source.reference or _text(dataset.dataset_json.content.get("reference")),
            )
            names[source.name] = name
        renamed.append(names)
    return tuple(sources.values()), tuple(renamed), notes


def _annotates_all(annotation: Annotation, source: Source, target: Mapping[str, str | None], goal: str) -> bool:
    """Whether a source annotates all labels that become a merged class; of one that labels left kidneys only, the background
    may be a right kidney.
    """
    merged = [label for label in annotation.merged_labels if target[label.name] == goal]
    annotated = {name for name in source.annotated_classes if target[name] == goal}
    annotated.update(name for label in merged if label.name in source.merged_labels for name in label.classes)
    values = {label.value for label in merged}
    values.update(v for name, region in zip(annotation.classes, annotation.regions) if target[name] == goal for v in region)
    return all(annotation.membership(value, frozenset(annotated)) == POSITIVE for value in values)


def _note_on_part(dataset: RawDataset, source: Source, target: Mapping[str, str | None], goal: str, alone: bool) -> str:
    """Say that a source labels a part of a class only; raise UserError if that leaves it with no annotated class."""
    labels = [label for label, its in target.items() if its == goal]
    own = [label for label in labels if label in (*source.annotated_classes, *source.merged_labels)]
    fact = f"{dataset.name}: source {source.name!r} labels only {', '.join(own)} of {', '.join(labels)}, which become {goal!r}"
    if alone:
        raise UserError(f"{fact}, so that it annotates no class; keep these apart in the YAML, or say there what it `annotates`")
    return f"{fact}: its background says nothing about {goal}; where they mean the same, name it under `annotates` in the YAML"


def source_name(dataset: RawDataset, spec: DatasetSpec, source: Source) -> str:
    """What a source of an input dataset is called in the merged one."""
    return said_of_source(dataset, spec, source).name or dataset.source_name(source)


def said_of_source(dataset: RawDataset, spec: DatasetSpec, source: Source) -> SourceSpec:
    """What the YAML says about a source."""
    several = [other.name for other in dataset.annotation.sources]
    if unknown := sorted(set(spec.sources) - set(several)):
        raise UserError(f"{dataset.name}: the YAML names source {', '.join(unknown)}, it has {', '.join(several)}")
    if spec.source != SourceSpec() and (len(several) > 1 or spec.sources):
        holds = f"{dataset.name}: holds the sources {', '.join(several)}"
        raise UserError(f"{holds}; say in the YAML under `sources:` which is meant")
    return spec.sources.get(source.name, spec.source)


def _text(value: object) -> str | None:
    return str(value) if value else None
