"""The YAML that a merge inferred: read by `spec`, it gives the same merged dataset again.

It says every label's name, every nesting and merged label, and what each source annotates, so that a person can see and change
it. What the form cannot say (a class in two others that overlap) is left out and inferred again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Source
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import write_text
from nnunetv2_cdpd.jobs.yaml_files import yaml_text
from nnunetv2_cdpd.merge.nesting import Nesting
from nnunetv2_cdpd.merge.plan import MergePlan


def check_new(path: Path) -> None:
    """Raise UserError unless a file can be written there without writing over one."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path}: is there already and stays; give argument write_spec another file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.absolute().parent}; make it, or give argument write_spec another file")


def write_inferred_spec(path: Path, inputs: Sequence[RawDataset], plan: MergePlan) -> None:
    """Write the YAML of a merge.

    Raises:
        UserError: There is a file of this name, or no folder for it.
    """
    check_new(path)
    names = ", ".join(dataset.name for dataset in inputs)
    write_text(path, f"# What `cdpd merge` inferred for {names}; give it to --spec\n{yaml_text(inferred_spec(inputs, plan))}")


def inferred_spec(inputs: Sequence[RawDataset], plan: MergePlan) -> dict[str, Any]:
    """Content of the YAML (`spec.read_merge_spec` reads it)."""
    names = [dataset.name for dataset in inputs]
    sources = {source.name: source for source in plan.annotation.sources}
    datasets = {}
    for dataset, target, source_names, entry in zip(inputs, plan.naming.targets, plan.source_names, plan.said):
        entries = {old: _source(sources[new]) for old, new in source_names.items()}
        said = next(iter(entries.values())) if len(entries) == 1 else {"sources": entries}
        key = dataset.name if names.count(dataset.name) == 1 else str(dataset.folder)
        datasets[key] = {"labels": dict(target), **said, **({} if entry.synonyms else {"synonyms": False})}
    content = {
        "datasets": datasets,
        "nested": _nested(plan),
        "merged_labels": {name: list(group) for name, group in plan.naming.merged_labels.items()}
        | {name: None for name, group in plan.spec.merged_labels.items() if not group},
        "compatible": sorted(sorted(pair) for pair in plan.compatible),
        "prompts": {name: list(words) for name, words in plan.annotation.class_prompts.items()}
        | {name: None for name, words in plan.spec.prompts.items() if not words},
    }
    return {key: value for key, value in content.items() if value}


def _source(source: Source) -> dict[str, Any]:
    texts = {key: getattr(source, key) for key in ("task_prompt", "license", "reference")}
    return {
        "name": source.name,
        "annotates": [*source.annotated_classes, *source.merged_labels],
        **{key: text for key, text in texts.items() if isinstance(text, str) and text.strip()},
    }


def _nested(plan: MergePlan) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name in plan.annotation.classes:
        certain, possible = _direct(name, plan.nesting), plan.nesting.possible.get(name, ())
        if name in plan.nested and not plan.nested[name]:
            nested[name] = None
        elif possible and not certain:
            nested[name] = list(possible)
        elif len(certain) == 1 and not possible:
            nested[name] = certain[0]
    return nested


def _direct(name: str, nesting: Nesting) -> list[str]:
    """The classes that a class certainly lies in, without those that follow from others."""
    certain = nesting.certain.get(name, frozenset())
    return sorted(parent for parent in certain if not any(parent in nesting.closure(other) for other in certain - {parent}))
