"""The completed dataset: its labels, its dataset.json with what came from where, and the table of what the filters decided."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import Annotation, dataset_json_entries
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.teachers import Teacher
from nnunetv2_cdpd.completion.work import REAL
from nnunetv2_cdpd.datasets.output import check_own_folder
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import FileRecord
from nnunetv2_cdpd.jobs.shapes import FLAG, NUMBER, TEXT, Shape, has_shape, map_of, none_or, record, whole_number
from nnunetv2_cdpd.jobs.tables import csv_of
from nnunetv2_cdpd.merge.output import image_entry, input_name

COMPLETION_RECORD_FILE = "cdpd_completion_record.jsonl"
TABLE_FILE = "cdpd_completion.csv"
COMPLETION = "completion"  # key of the `cdpd` block
_COUNT = whole_number()
_CLASS = record(
    {"outcome": TEXT},
    {
        "filter": none_or(TEXT),
        "teachers": map_of(Shape("a list", lambda value: isinstance(value, list)), "an object of teachers"),
        "seen": FLAG,
        "voxels": _COUNT,
        "ignored": _COUNT,
        "kept_over": _COUNT,
        "measured": map_of(NUMBER, "an object of numbers"),
    },
)
_VALUES = map_of(record({"voxels": _COUNT, "real": _COUNT}), "an object of values")
_CASE = record({"source": TEXT, "classes": map_of(_CLASS, "an object of classes"), "values": _VALUES})
_MEASURED = ("probability", "agreement", "volume_score", "place_score", "shape_score")


def completed_annotation(annotation: Annotation) -> tuple[Annotation, np.ndarray]:
    """The annotation of the completed dataset, in which every source annotates every class, and its values.

    nnU-Net wants consecutive values, of which ignore is the highest; merged labels are resolved or ignored, so theirs go.

    Returns:
        The annotation, and uint16 (V + 1,): stored value -> new value. The last entry is that of ignore.
    """
    used = sorted({*annotation.values, *(value for region in annotation.regions for value in region)})
    new = {value: number for number, value in enumerate(used, start=1)}
    ignore = len(used) + 1
    values = np.zeros(annotation.num_values + 1, np.uint16)
    values[list(new)] = list(new.values())
    values[-1] = ignore
    completed = replace(
        annotation,
        values=tuple(new[value] for value in annotation.values),
        regions=tuple(tuple(sorted(new[value] for value in region)) for region in annotation.regions),
        sources=tuple(
            replace(source, annotated_classes=annotation.classes, merged_labels=(), task_prompt=None)
            for source in annotation.sources
        ),
        merged_labels=(),
        ignore_value=ignore,
    )
    return completed, values


def open_completion_record(output: Path, dataset: RawDataset) -> FileRecord:
    """The record in the output folder.

    Raises:
        UserError: The folder is not ours to write to, or was completed from another dataset.
    """
    inputs = [input_name(dataset, output.parent)]
    made = FileRecord(output / COMPLETION_RECORD_FILE, inputs, "cdpd complete", dict, lambda facts: has_shape(facts, _CASE))
    is_ours = made.recorded_inputs is not None
    check_own_folder(output, made_here=is_ours, command="cdpd complete", way_out="give another argument dataset_id")
    if made.recorded_inputs is not None and made.recorded_inputs != inputs:
        raise UserError(
            f"{output}: was completed from {', '.join(made.recorded_inputs)}; nothing was changed, give another argument "
            "dataset_id"
        )
    return made


def completed_dataset_json(
    output: Path,
    dataset: RawDataset,
    annotation: Annotation,
    teachers: Sequence[Teacher],
    settings: CompletionSettings,
    told: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """dataset.json of the completed dataset: nnU-Net's keys, and in the `cdpd` block what came from where.

    Args:
        annotation: Of the completed dataset.
        told: Case -> what `work` tells of it.
    """
    content, ending = dataset.dataset_json.content, dataset.dataset_json.file_ending
    entries = dataset_json_entries(annotation)
    if all(len(region) == 1 for region in annotation.regions):  # plain labels: a softmax for stock nnU-Net
        entries["labels"] = {name: label[0] if isinstance(label, list) else label for name, label in entries["labels"].items()}
        del entries["regions_class_order"]
    known = content.get("cdpd")
    entries["cdpd"] = {**(known if isinstance(known, Mapping) else {}), **entries["cdpd"]}
    entries["cdpd"][COMPLETION] = {
        "version": 1,
        "dataset": dataset.name,
        "settings": settings.facts(),
        "teachers": {teacher.name: {str(fold): sum_ for fold, sum_ in teacher.checksums.items()} for teacher in teachers},
        "cases": {case: _short(facts) for case, facts in told.items()},
    }
    described = content.get("description")
    history = f"completed by cdpd complete from {dataset.name}"
    left = ("labels", "regions_class_order", "cdpd", "dataset", "name", "description")
    return {
        "name": output.name.partition("_")[2],
        "description": f"{described}; {history}" if isinstance(described, str) and described else history,
        **{key: value for key, value in content.items() if key not in left},
        **entries,
        "numTraining": len(dataset.cases),
        "dataset": {
            case.identifier: {
                "images": [image_entry(dataset, entry, output) for entry in case.images],
                "label": f"labelsTr/{case.identifier}{ending}",
            }
            for case in dataset.cases
        },
    }


def decisions_csv(told: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each case and class that its source leaves open."""
    rows: list[list[Any]] = [
        ["case", "source", "class", "outcome", "filter", "teachers", "seen", "voxels", "ignored", "kept_over", *_MEASURED]
    ]
    for case, facts in told.items():
        for name, its in facts["classes"].items():
            if its["outcome"] == REAL:
                continue
            by = "; ".join(f"{teacher} {' '.join(folds)}" for teacher, folds in its["teachers"].items())
            numbers = [its["voxels"], its["ignored"], its["kept_over"], *(its["measured"].get(key, "") for key in _MEASURED)]
            rows.append(
                [case, facts["source"], name, its["outcome"], its["filter"] or "", by, "yes" if its["seen"] else "", *numbers]
            )
    return csv_of(rows)


def _short(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What dataset.json keeps of a case; what the filters measured is in the table."""
    classes: dict[str, Any] = {REAL: [name for name, its in facts["classes"].items() if its["outcome"] == REAL]}
    for name, its in facts["classes"].items():
        if its["outcome"] != REAL:
            kept = {key: value for key, value in its.items() if key not in ("outcome", "measured", "kept_over") and value}
            classes.setdefault(its["outcome"], {})[name] = kept
    return {**classes, "values": facts["values"]}
