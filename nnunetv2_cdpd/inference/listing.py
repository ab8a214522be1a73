"""What a model can predict, in words: for `cdpd predict --list-classes`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.inference.models import read_descriptions
from nnunetv2_cdpd.jobs.tables import aligned


def classes_text(folder: Path) -> str:
    """The classes of a model folder with their stored values, and what each source annotates, whose names are the tasks.

    Raises:
        UserError: There is no model folder, or its descriptions cannot be read.
    """
    plans, dataset_json = read_descriptions(folder)
    annotation = read_annotation(dataset_json, where=folder / FILE_NAME)
    rows = [
        (str(value), name, f"in {' or '.join(parents)}" if (parents := annotation.lies_in(name)) else "")
        for name, value in zip(annotation.classes, annotation.values)
    ]
    lines = ["classes, for --classes:", *_indented(aligned([("value", "class", ""), *rows], left=3, last_is_total=False))]
    lines += ["", "sources, for --task, and what each annotates:" if _has_tasks(plans) else "sources, and what each annotates:"]
    for source in annotation.sources:
        merged = [
            f"{label.name} ({' or '.join(label.classes)})"
            for label in annotation.merged_labels
            if label.name in source.merged_labels
        ]
        lines += _indented([f"{source.name}: {', '.join([*source.annotated_classes, *merged])}"])
    if not _has_tasks(plans):
        lines += ["", "The model was trained without task prompts: there is no --task."]
    return "\n".join(lines)


def _has_tasks(plans: Mapping[str, Any]) -> bool:
    """Whether one of the configurations has a network with task prompts."""
    architectures = [entry.get("architecture") or {} for entry in plans["configurations"].values() if isinstance(entry, dict)]
    return any((architecture.get("arch_kwargs") or {}).get("task") for architecture in architectures)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
