"""The folder of a merged dataset: whose it is, and its dataset.json."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Annotation, dataset_json_entries, moved_classes
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, READER_KEY
from nnunetv2_cdpd.datasets.output import check_own_folder
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs import FileRecord, read_json
from nnunetv2_cdpd.merge.collect import MergedCase
from nnunetv2_cdpd.merge.licensing import LeftOut
from nnunetv2_cdpd.merge.plan import MergePlan
from nnunetv2_cdpd.merge.readers import reader_asked_for
from nnunetv2_cdpd.merge.telling import line_that_keeps, renamed_classes

MERGE_RECORD_FILE = "cdpd_merge_record.jsonl"
_FORMER_FILE = "cdpd_dataset_before.json"


def open_record(output: Path, inputs: Sequence[RawDataset], left_out: Sequence[LeftOut], update: bool) -> FileRecord:
    """The record in the output folder, if the folder is ours to write to; it also tells which sources were left out and why."""
    names = [input_name(dataset, output.parent) for dataset in inputs]
    names += [f"without source {each}" for each in left_out]
    path = output / MERGE_RECORD_FILE
    record = FileRecord(path, names, "cdpd merge", lambda values: {"values": values}, _are_facts)
    is_ours = record.recorded_inputs is not None
    check_own_folder(output, made_here=is_ours, command="cdpd merge", way_out="give another argument dataset_id")
    if record.recorded_inputs is not None and sorted(record.recorded_inputs) != sorted(names) and not update:
        raise UserError(
            f"{output}: was merged from {', '.join(record.recorded_inputs)}; nothing was changed, give another argument "
            "dataset_id, or argument update to make it one of the datasets given now"
        )
    return record


def former_dataset(output: Path) -> Any:
    """dataset.json of the last merge that came to its end, as it was read; None: there was none."""
    unfinished = read_json(output / _FORMER_FILE)
    return read_json(output / FILE_NAME) if unfinished is None else unfinished


def former_cases(output: Path) -> frozenset[str]:
    """Those of `former_dataset`."""
    former = former_dataset(output)
    cases = former.get("dataset") if isinstance(former, Mapping) else None
    return frozenset(cases if isinstance(cases, Mapping) else ())


def set_former_aside(output: Path) -> None:
    """Take dataset.json away while label maps do not agree with it; what it said is known until `forget_former`."""
    if (output / _FORMER_FILE).is_file():  # of a merge before one that failed
        (output / FILE_NAME).unlink(missing_ok=True)
    else:
        (output / FILE_NAME).rename(output / _FORMER_FILE)


def forget_former(output: Path) -> None:
    """The merge has come to its end, folds included."""
    (output / _FORMER_FILE).unlink(missing_ok=True)


def check_renamed(output: Path, inputs: Sequence[RawDataset], plan: MergePlan, update: bool) -> list[str]:
    """Notes on classes of the dataset in the output folder that would get another name, which models trained on it do not know.

    Raises:
        UserError: There are some, and `update` does not say that they may.
    """
    renamed = renamed_classes(former_dataset(output), plan.naming, plan.spelling)
    told = ", ".join(f"{old} -> {new}" for old, new in renamed.items())
    if renamed and not update:
        keep = f"`{line_that_keeps(renamed, inputs, plan.naming) or 'synonyms: false'}`"
        raise UserError(
            f"{output}: was merged with other names of the same classes ({told}), which models trained on it know; nothing was "
            f"changed, {keep} in the YAML keeps them, argument update gives the new names"
        )
    return [f"classes get other names: {told}; models trained on {output.name} know the old ones"] if renamed else []


def check_moved(output: Path, record: FileRecord, inputs: Sequence[RawDataset], plan: MergePlan, update: bool) -> list[str]:
    """Notes on classes of the dataset in the output folder that would get other heads or stored values, which nothing that was
    preprocessed or trained knows.

    Raises:
        UserError: There are some only because the same datasets are given in another order, and `update` does not say that it
            may be.
    """
    old = former_dataset(output)
    if not (isinstance(old, dict) and isinstance(old.get("labels"), dict)):
        return []
    moved = moved_classes(old, dataset_json_entries(plan.annotation))
    names = [input_name(dataset, output.parent) for dataset in inputs]
    former = [name for name in record.recorded_inputs or () if name in names]
    if moved and former != names and sorted(former) == sorted(names) and not update:
        raise UserError(
            f"{output}: was merged from {', '.join(former)}, in this order, and would have other stored values of "
            f"{listed(moved)}; nothing was changed, give the datasets in the former order, or argument update for the new values"
        )
    told = f"classes get other heads or stored values: {listed(moved)}; preprocess {output.name} again, and train anew"
    return [told] if moved else []


def make_dataset_json(
    output: Path, inputs: Sequence[RawDataset], plan: MergePlan, cases: Sequence[MergedCase], licensing: Mapping[str, Any]
) -> dict[str, Any]:
    """dataset.json of the merged dataset, nnU-Net's keys and the `cdpd` block.

    Args:
        licensing: Goes into the block: see `licensing.license_entry`.
    """
    first = inputs[0].dataset_json.content
    annotation = replace(plan.annotation, case_source={case.identifier: case.source for case in cases})
    joined = {"licence": _joined(annotation, "license"), "reference": _joined(annotation, "reference")}
    dataset_json = {
        "name": output.name.partition("_")[2],
        "description": f"Merged by cdpd merge from {', '.join(dataset.name for dataset in inputs)}",
        **{key: text for key, text in joined.items() if text},
        "channel_names": dict(first["channel_names"]),
        **dataset_json_entries(annotation),
        "numTraining": len(cases),
        "file_ending": first["file_ending"],
    }
    dataset_json["cdpd"] |= licensing
    if stands_for := plan.naming.stands_for:
        dataset_json["cdpd"]["stands_for"] = {name: list(meant) for name, meant in stands_for.items()}
    if reader := reader_asked_for(inputs):
        dataset_json[READER_KEY] = reader
    dataset_json["dataset"] = {
        case.identifier: {
            "images": [image_entry(inputs[case.dataset], entry, output) for entry in case.entries],
            "label": f"labelsTr/{case.identifier}{first['file_ending']}",
        }
        for case in cases
    }
    return dataset_json


def _joined(annotation: Annotation, fact: str) -> str:
    return "; ".join(f"{source.name}: {getattr(source, fact)}" for source in annotation.sources if getattr(source, fact))


def image_entry(dataset: RawDataset, entry: str, output: Path) -> str:
    """How dataset.json refers to an image: an environment variable stays one, below nnUNet_raw relative, else absolute."""
    expanded = os.path.expandvars(entry)
    if expanded != entry and os.path.isabs(expanded):
        return entry
    path = dataset.path(entry)
    return Path(os.path.relpath(path, output)).as_posix() if path.is_relative_to(output.parent) else str(path)


def input_name(dataset: RawDataset, raw_folder: Path) -> str:
    """What tells an input dataset from others: its path, relative where it lies in nnUNet_raw."""
    folder = dataset.folder
    return os.path.relpath(folder, raw_folder) if folder.is_relative_to(raw_folder) else str(folder)


def _are_facts(facts: Mapping[str, Any]) -> bool:
    values = facts.get("values")
    return isinstance(values, list) and all(type(value) is int for value in values)
