"""Scoped classes: a class of one source that stays apart from the same class of others, as `pancreas@MSD`.

Datasets do not always mean the same by one name. A scoped class is one of its own, and nothing says whether a voxel of one
is of the other: the class table calls all scopes of a name compatible (`classes.compatible_pairs`).
"""

from collections.abc import Sequence
from dataclasses import replace

from nnunetv2_cdpd.classes import SCOPE, class_key
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.naming import wanted_names
from nnunetv2_cdpd.merge.sources import source_name
from nnunetv2_cdpd.merge.spec import DatasetSpec, MergeSpec


def with_scopes(inputs: Sequence[RawDataset], specs: Sequence[DatasetSpec], spec: MergeSpec) -> list[DatasetSpec]:
    """The YAML's entries with the `scoped` lines made part of their `labels`.

    Raises:
        UserError: A `scoped` line names no source, or one that has no such class, or one of several sources of a dataset.
    """
    specs = list(specs)
    sources = {
        source_name(dataset, entry, source): index
        for index, (dataset, entry) in enumerate(zip(inputs, specs))
        for source in dataset.annotation.sources
    }
    for name, scopes in spec.scoped.items():
        for scope in scopes:
            where = f"{spec.path}: `scoped: {name}`"
            if scope not in sources:
                raise UserError(f"{where}: no source {scope}; there are {', '.join(sources)}")
            dataset, entry = inputs[sources[scope]], specs[sources[scope]]
            others = [other for other, index in sources.items() if index == sources[scope] and other != scope]
            if others:
                raise UserError(
                    f"{where}: {dataset.name} also holds {', '.join(others)} in the same label values; merge the dataset of "
                    f"{scope} itself, or scope it for all of them with `labels: {{{name}: {name}{SCOPE}{dataset.name}}}`"
                )
            goals = wanted_names(dataset, entry, spec.path)
            chosen = {label: goal for label, goal in goals.items() if goal is not None and class_key(goal) == class_key(name)}
            if not chosen:
                there = ", ".join(goal for goal in goals.values() if goal is not None)
                raise UserError(f"{where}: source {scope} has no such class; its labels give {there}")
            scoped = {label: f"{goal}{SCOPE}{scope}" for label, goal in chosen.items()}
            specs[sources[scope]] = replace(entry, labels={**goals, **scoped})
    return specs
