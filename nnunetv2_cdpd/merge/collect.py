"""Collect the cases of all input datasets and check what can be checked without opening an image."""

import contextlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge.plan import MergePlan

MAX_LISTED = 20


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


def check_alike(inputs: Sequence[RawDataset]) -> None:
    """Raise UserError unless all datasets have the same channels and file ending."""
    first = inputs[0]
    for other in inputs[1:]:
        # nnU-Net chooses the normalization by the channel's name, whatever its case
        if [name.lower() for name in first.channel_names] != [name.lower() for name in other.channel_names]:
            raise UserError(
                f"{other.name}: channel_names are {', '.join(other.channel_names)}, those of {first.name} "
                f"{', '.join(first.channel_names)}; one network needs the same channels in the same order"
            )
        endings = [dataset.dataset_json["file_ending"] for dataset in (first, other)]
        if endings[0] != endings[1]:
            raise UserError(
                f"{other.name}: file_ending is {endings[1]}, that of {first.name} {endings[0]}; nnU-Net reads one format per "
                "dataset, convert one of the two"
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
        way_out = "argument prefix puts the source's name before each case identifier"
    cases: dict[str, MergedCase] = {}
    problems = []
    for index, (dataset, source_names) in enumerate(zip(inputs, plan.source_names)):
        problems += [f"{dataset.name}: {problem}" for problem in dataset.problems]
        counts = Counter()
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
            problems += [f"{where}: {kind[path]} {path} is missing" for path in kind if not path.is_file()]
            identifier = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}_{given.identifier}" if prefix else given.identifier
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
        more = len(problems) - MAX_LISTED
        listed = [*problems[:MAX_LISTED], *([f"... and {more} more"] if more > 0 else [])]
        raise UserError("\n  ".join([f"{len(problems)} problem{'s' * (len(problems) > 1)}, {outcome}:", *listed]))


def reader_of(
    inputs: Sequence[RawDataset], dataset_json: Mapping[str, Any], cases: Sequence[MergedCase]
) -> type[BaseReaderWriter]:
    """nnU-Net's reader/writer class for the merged dataset; it tries to open an image, so one of each dataset is offered."""
    firsts = {case.dataset: case for case in reversed(cases)}
    for _, case in sorted(firsts.items()):
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(RuntimeError):
            return determine_reader_writer_from_dataset_json(dict(dataset_json), str(case.images[0]), verbose=False)
    raise UserError(
        f"{inputs[0].name}: nnU-Net has no reader for {dataset_json['file_ending']} that opens {cases[0].images[0]}; "
        "is the file damaged? nnU-Net's dataset_format.md lists the formats"
    )
