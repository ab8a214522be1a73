"""Collect the cases of all input datasets and check what can be checked without opening an image."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, first_of
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.merge.plan import MergePlan

MAX_LISTED = 20
_LONGEST_NAME = 255  # of a file, in bytes, on all usual file systems
_NNUNETS_SUFFIX = "_seg.b2nd"  # of what its preprocessing makes of a case


@dataclass(frozen=True)
class MergedCase:
    """One case of the merged dataset.

    dataset: Index of its input dataset.
    entries: Its images as the input dataset refers to them.
    images: The same as absolute paths.
    """

    identifier: str
    source: str
    dataset: int
    entries: tuple[str, ...]
    images: tuple[Path, ...]
    label: Path


def check_inputs(inputs: Sequence[RawDataset], output: Path) -> None:
    """Raise UserError unless there are datasets, none of them the output, all with the same channels and file ending."""
    if not inputs:
        raise UserError(f"{output}: nothing to merge; give at least one dataset")
    if real_path(output) in (real_path(dataset.folder) for dataset in inputs):
        raise UserError(f"{output}: both an input and the output; give another argument dataset_id")
    first = inputs[0]
    for other in inputs[1:]:
        wanted, found = first.dataset_json, other.dataset_json
        either = f"{found.path} or {wanted.path}"
        # nnU-Net chooses the normalization by the channel's name, whatever its case
        if list(map(str.lower, wanted.channel_names)) != list(map(str.lower, found.channel_names)):
            raise UserError(
                f"{other.name}: channel_names are {', '.join(found.channel_names)}, those of {first.name} "
                f"{', '.join(wanted.channel_names)}; one network needs the same channels in the same order, mend {either}"
            )
        if wanted.file_ending != found.file_ending:
            raise UserError(
                f"{other.name}: file_ending is {found.file_ending}, that of {first.name} {wanted.file_ending}; nnU-Net reads one "
                f"format per dataset, convert one of the two ({either})"
            )


def collect_cases(inputs: Sequence[RawDataset], plan: MergePlan, prefix: bool) -> list[MergedCase]:
    """The cases of the merged dataset, by dataset and case identifier.

    Args:
        prefix: Put the source's name before each case identifier.

    Raises:
        UserError: Lists every missing file, case identifier used twice, case or dataset that does not fit.
    """
    way_out = "give one source another `name` in the YAML"
    if not prefix:
        way_out = "give argument prefix, which puts the source's name before each case identifier"
    cases: dict[str, MergedCase] = {}
    problems = []
    for index, (dataset, source_names) in enumerate(zip(inputs, plan.source_names)):
        problems += [f"{dataset.name}: {problem}" for problem in dataset.problems]
        counts: Counter[str] = Counter()
        for given in dataset.cases:
            where = f"{dataset.name}: case {given.identifier!r}"
            try:
                source = dataset.annotation.sources[dataset.annotation.source_index(given.identifier)].name
            except UserError as error:
                problems.append(f"{where}: {error}")
                continue
            counts[source] += 1
            name = source_names[source]
            images, label = tuple(map(dataset.path, given.images)), dataset.path(given.label)
            kind = dict.fromkeys(images, "image") | {label: "label"}
            problems += [f"{where}: {kind[path]} {path} is missing" for path in kind if not os.path.isfile(path)]
            identifier = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}_{given.identifier}" if prefix else given.identifier
            if (
                len(os.fsencode(identifier)) + len(max(dataset.dataset_json.file_ending, _NNUNETS_SUFFIX, key=len))
                > _LONGEST_NAME
            ):
                problems.append(f"{where}: its name is too long for that of a file; shorten it")
                continue
            case = MergedCase(identifier, name, index, given.images, images, label)
            other = cases.setdefault(identifier, case)
            if other is not case:  # with a prefix also within a dataset: `B_x` of source `A` and `x` of source `A_B`
                problems.append(
                    f"case {identifier!r} is in {inputs[other.dataset].name} (source {other.source}) and in {dataset.name} "
                    f"(source {name}); {way_out}"
                )
        if dataset.cases:
            empty = [source.name for source in dataset.annotation.sources if not counts[source.name]]
            problems += [f"{dataset.name}: source {name!r} has no case; take it out of dataset.json" for name in empty]
    raise_problems(problems, "nothing was written; mend these and call again")
    return list(cases.values())


def raise_problems(problems: Sequence[str], outcome: str) -> None:
    """Raise UserError with all problems, the first ones in full, if there are any."""
    if problems:
        head = f"{len(problems)} problem{'s' * (len(problems) > 1)}, {outcome}:"
        raise UserError("\n  ".join([head, *first_of(problems, MAX_LISTED)]))
