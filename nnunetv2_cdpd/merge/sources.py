"""Sources of a merged dataset: one per source of each input dataset, with what the YAML says about it."""

from collections.abc import Sequence

from nnunetv2_cdpd.annotation import Source
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.inputs import InputDataset
from nnunetv2_cdpd.merge.naming import IGNORE, Naming, Spelling
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec, SourceSpec


def specs_of(inputs: Sequence[InputDataset], spec: MergeSpec) -> list[DatasetSpec]:
    """The YAML's entry of each input dataset, by id, name or what the user typed for it."""
    entries = dict(spec.datasets)
    found = []
    for dataset in inputs:
        names = {dataset.given, dataset.name, str(dataset.folder), short_name(dataset), _id_of(dataset)}
        keys = [key for key in entries if key in names]
        if len(keys) > 1:
            raise UserError(f"{spec.path}: {', '.join(keys)} are the same dataset, {dataset.name}; keep one entry")
        found.append(entries.pop(keys[0]) if keys else DatasetSpec())
    if entries:
        there = ", ".join(dataset.name for dataset in inputs)
        raise UserError(f"{spec.path}: no dataset {', '.join(entries)} in this merge; there are {there}")
    return found


def _id_of(dataset: InputDataset) -> str:
    prefix = dataset.name.partition("_")[0].removeprefix("Dataset")
    return str(int(prefix)) if prefix.isdigit() else dataset.name


def resolve_sources(
    inputs: Sequence[InputDataset], specs: Sequence[DatasetSpec], naming: Naming, classes: Sequence[str], spelling: Spelling
) -> tuple[tuple[Source, ...], tuple[dict[str, str], ...]]:
    """The sources of the merged dataset, and for each input dataset the new name of each of its sources.

    Raises:
        UserError: Two sources of one name, or the YAML speaks of sources or classes that a dataset does not have.
    """
    sources: dict[str, Source] = {}
    renamed = []
    for dataset, spec, target in zip(inputs, specs, naming.targets):
        names = {}
        for source in dataset.annotation.sources:
            said = _source_spec(dataset, spec, source)
            name = source_name(dataset, spec, source)
            if name in sources:
                raise UserError(f"{dataset.name}: its source {name!r} is in another dataset too; give it a `name` in the YAML")
            known = {goal for goal in target.values() if goal not in (None, IGNORE)}
            goals = {target[label] for label in (*source.annotated_classes, *source.merged_labels)} & known
            if said.annotates is not None:
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
                said.license or source.license or _licence(dataset),
                said.reference or source.reference or _text(dataset.dataset_json.get("reference")),
            )
            names[source.name] = name
        renamed.append(names)
    return tuple(sources.values()), tuple(renamed)


def source_name(dataset: InputDataset, spec: DatasetSpec, source: Source) -> str:
    """What a source of an input dataset is called in the merged one."""
    said = _source_spec(dataset, spec, source)
    return said.name or (source.name if "cdpd" in dataset.dataset_json else short_name(dataset))


def _source_spec(dataset: InputDataset, spec: DatasetSpec, source: Source) -> SourceSpec:
    several = [other.name for other in dataset.annotation.sources]
    if unknown := sorted(set(spec.sources) - set(several)):
        raise UserError(f"{dataset.name}: the YAML names source {', '.join(unknown)}, it has {', '.join(several)}")
    if spec.source != SourceSpec() and (len(several) > 1 or spec.sources):
        holds = f"{dataset.name}: holds the sources {', '.join(several)}"
        raise UserError(f"{holds}; say in the YAML under `sources:` which is meant")
    return spec.sources.get(source.name, spec.source)


def short_name(dataset: InputDataset) -> str:
    """ "KITS" of Dataset301_KITS."""
    prefix, _, rest = dataset.name.partition("_")
    return rest if rest and prefix.startswith("Dataset") and prefix.removeprefix("Dataset").isdigit() else dataset.name


def _licence(dataset: InputDataset) -> str | None:
    """nnU-Net writes `licence`, and a joke where nobody gave one."""
    text = _text(dataset.dataset_json.get("licence") or dataset.dataset_json.get("license"))
    return None if text and text.startswith("Whoever converted this dataset") else text


def _text(value: object) -> str | None:
    return str(value) if value else None
