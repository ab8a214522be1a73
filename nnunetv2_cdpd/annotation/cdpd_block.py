"""Annotation in dataset.json: reading it and writing it.

nnU-Net's `labels` and `regions_class_order` say what the classes are; the `cdpd` block says who annotates them
(docs/annotation.md shows one).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation.contradictions import check_annotation
from nnunetv2_cdpd.annotation.model import Annotation, MergedLabel, Source
from nnunetv2_cdpd.errors import UserError, has_control, is_blank, shortened
from nnunetv2_cdpd.host import DATASET_FILE
from nnunetv2_cdpd.jobs.shapes import ANYTHING, NAME, TEXT, Shape, check_shape, list_of, map_of, none_or, record, shown

CDPD_VERSION = 1
_LARGEST_VALUE = np.iinfo(np.uint16).max  # label maps are stored in 16 bits at the most
_TEXTS = ("task_prompt", "license", "reference")  # of a source, in its order
_AGAIN = "mend it there, or run `cdpd merge` again"
_NAMES = list_of(TEXT)
_PROMPT = Shape("a text or null", lambda value: value is None or NAME.fits(value))
_VALUE = Shape(f"a value from 0 to {_LARGEST_VALUE}", lambda value: _is_value(value))
_LABELS = map_of(ANYTHING, "an object, which gives each class name its value")
_BLOCK = record(
    {
        "sources": map_of(
            record(
                {"annotated_classes": _NAMES},
                {"merged_labels": _NAMES, **dict.fromkeys(_TEXTS, none_or(TEXT)), "task_prompt": _PROMPT},
            ),
            "an object of sources",
            least=1,
        )
    },
    {
        "case_source": none_or(map_of(TEXT, "an object, which gives each case its source")),
        "merged_labels": map_of(record({"value": _VALUE, "classes": _NAMES}), "an object of merged labels"),
        "possible_parents": map_of(_NAMES, "an object, which gives a class the list of its possible parents"),
        "compatible": list_of(list_of(TEXT, 1, 2)),
        "unasked": _NAMES,
        "class_prompts": map_of(list_of(NAME, 1), "an object, which gives a class the list of its sentences"),
    },
)


def read_annotation(dataset_json: Mapping[str, Any], where: str | Path = DATASET_FILE) -> Annotation:
    """Read the annotation of a dataset; one without a `cdpd` block is one source with every class annotated.

    Args:
        dataset_json: nnU-Net's dataset.json; not changed.
        where: Its file, for messages.

    Raises:
        UserError: The `cdpd` block contradicts itself or nnU-Net's labels.
    """
    annotation = read_unchecked_annotation(dataset_json, where)
    check_annotation(annotation, where)
    return annotation


def read_unchecked_annotation(dataset_json: Mapping[str, Any], where: str | Path = DATASET_FILE) -> Annotation:
    """`read_annotation` without looking for contradictions, for whoever lists them all (`contradictions`).

    Raises:
        UserError: No annotation can be read: malformed labels or a damaged `cdpd` block.
    """
    _check_labels(dataset_json.get("labels"), where)
    labels = {name: label for name, label in dataset_json["labels"].items() if not _is_background(name, label)}
    ignore_value = labels.pop("ignore", None)
    if not labels:
        raise UserError(f"{where}: `labels` holds no class besides background; add the classes to learn")
    listed = {name: _values_of(label) for name, label in labels.items()}
    if any(len(label) > 1 for label in listed.values()):
        values = dataset_json.get("regions_class_order") or ()
        if not isinstance(values, (list, tuple)) or not all(_is_value(value) for value in values):
            raise UserError(f"{where}: `regions_class_order` is {values!r}, not a list of values; give one value per region")
        if len(values) != len(labels):
            raise UserError(
                f"{where}: `regions_class_order` holds {len(values)} values for {len(labels)} regions; "
                "give one value per region, in the order of `labels`"
            )
    else:
        values = tuple(label[0] for label in listed.values())

    block = dataset_json.get("cdpd")
    if block is None:
        source = str(dataset_json.get("name") or "dataset")
        block = {"version": CDPD_VERSION, "sources": {source: {"annotated_classes": list(labels)}}}
    check_shape(block, record(), where, _AGAIN, "cdpd")
    if block.get("version") != CDPD_VERSION:
        raise UserError(
            f"{where}: the `cdpd` block has version {shown(block.get('version'))}, this release reads version "
            f"{CDPD_VERSION}; run `cdpd merge` again"
        )
    check_shape(block, _BLOCK, where, _AGAIN, "cdpd")
    for key in ("sources", "merged_labels"):
        _check_named(block.get(key, ()), where, f"cdpd: {key}")
    merged_labels = _read_merged_labels(block, listed, where)
    # A merged value has to be declared somewhere for nnU-Net's integrity check; it stands in the regions of its
    # classes, but it belongs to none of them for certain.
    merged_values = {label.value for label in merged_labels}
    return Annotation(
        classes=tuple(labels),
        values=tuple(int(value) for value in values),
        regions=tuple(tuple(sorted({int(value) for value in region} - merged_values)) for region in listed.values()),
        sources=_read_sources(block),
        case_source=block.get("case_source") and dict(block["case_source"]),
        merged_labels=merged_labels,
        possible_parents={name: tuple(parents) for name, parents in block.get("possible_parents", {}).items()},
        compatible=frozenset(frozenset(pair) for pair in block.get("compatible", ())),
        ignore_value=ignore_value,
        class_prompts={name: tuple(words) for name, words in block.get("class_prompts", {}).items()},
        unasked=tuple(block.get("unasked", ())),
        where=where,
    )


def dataset_json_entries(annotation: Annotation) -> dict[str, Any]:
    """`labels`, `regions_class_order` and `cdpd` of a dataset.json: the inverse of `read_annotation`."""
    regions = [
        sorted({*region, *(label.value for label in annotation.merged_labels if name in label.classes)})
        for name, region in zip(annotation.classes, annotation.regions)
    ]
    labels: dict[str, Any] = {"background": 0, **_as_sigmoid_regions(dict(zip(annotation.classes, regions)))}
    if annotation.ignore_value is not None:
        labels["ignore"] = annotation.ignore_value
    block: dict[str, Any] = {
        "version": CDPD_VERSION,
        "sources": {
            source.name: {
                "annotated_classes": list(source.annotated_classes),
                "merged_labels": list(source.merged_labels),
                **{key: getattr(source, key) for key in _TEXTS},
            }
            for source in annotation.sources
        },
        "merged_labels": {m.name: {"value": m.value, "classes": list(m.classes)} for m in annotation.merged_labels},
        "possible_parents": {name: list(parents) for name, parents in annotation.possible_parents.items()},
        "compatible": sorted(sorted(pair) for pair in annotation.compatible),
    }
    if annotation.unasked:
        block["unasked"] = list(annotation.unasked)
    if annotation.class_prompts:
        block["class_prompts"] = {name: list(words) for name, words in annotation.class_prompts.items()}
    if annotation.case_source is not None:
        block["case_source"] = dict(annotation.case_source)
    return {"labels": labels, "regions_class_order": list(annotation.values), "cdpd": block}


def with_sigmoid_heads(dataset_json: Mapping[str, Any], where: str | Path = DATASET_FILE) -> dict[str, Any]:
    """A dataset.json whose classes all become regions, so that nnU-Net gives each a sigmoid head of its own.

    nnU-Net decides by the labels alone: it uses a softmax with a background head unless one label is a list of at least
    two values. A single value is therefore listed twice where no class is nested; as a set of values it stays the same.
    A dataset with regions is returned as it is.

    Args:
        where: Its file, for messages.

    Raises:
        UserError: Malformed labels.
    """
    _check_labels(dataset_json.get("labels"), where)
    labels = dataset_json["labels"]
    if any(len(_values_of(label)) > 1 for label in labels.values()):
        return dict(dataset_json)
    listed = {name: _values_of(label) for name, label in labels.items() if not _is_background(name, label)}
    classes = {name: values for name, values in listed.items() if name != "ignore"}
    return {
        **dataset_json,
        "labels": {**labels, **_as_sigmoid_regions(classes)},
        "regions_class_order": [label[0] for label in classes.values()],
    }


def _as_sigmoid_regions(regions: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """nnU-Net's notation of regions: see `with_sigmoid_heads` for why a lone value may stand twice."""
    if any(len(region) > 1 for region in regions.values()):
        return {name: list(region) if len(region) > 1 else region[0] for name, region in regions.items()}
    return {name: [region[0], region[0]] for name, region in regions.items()}


def _is_background(name: str, label: Any) -> bool:
    return name == "background" or (name != "ignore" and set(_values_of(label)) == {0})


def _values_of(label: Any) -> tuple[Any, ...]:
    """The values of an entry of `labels`: of one class, or of a region."""
    return tuple(label) if isinstance(label, (list, tuple)) else (label,)


def _check_labels(labels: Any, where: str | Path) -> None:
    """Raise UserError unless these are nnU-Net v2's labels: name -> value, or list of values for a region."""
    check_shape(
        {} if labels is None else {"labels": labels},
        record({"labels": _LABELS}),
        where,
        "add it, see nnU-Net's dataset_format.md",
    )
    _check_named(labels, where, "labels")
    for name, label in labels.items():
        listed = (label,) if name == "ignore" else _values_of(label)
        if not listed or not all(_is_value(value) for value in listed):
            raise UserError(
                f"{where}: label {name!r} is {label!r}, not a value or a list of values from 0 to {_LARGEST_VALUE}; "
                "nnU-Net v2 writes `name: value`, the first nnU-Net wrote them the other way round"
            )


def _check_named(names: Iterable[str], where: str | Path, key: str) -> None:
    """Raise UserError unless every name can be seen: it becomes a prompt, a file and a line of tables."""
    names = list(names)
    if blank := [name for name in names if is_blank(str(name))]:
        raise UserError(f"{where}: `{key}` holds the blank name {blank[0]!r}; give it a name there")
    if acting := [str(name) for name in names if has_control(str(name))]:
        raise UserError(f"{where}: `{key}` holds {shortened(acting[0])}, a name with a control character; name it without")


def _is_value(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= int(value) <= _LARGEST_VALUE


def _read_sources(block: Mapping[str, Any]) -> tuple[Source, ...]:
    return tuple(
        Source(
            name,
            tuple(entry["annotated_classes"]),
            tuple(entry.get("merged_labels", ())),
            *(entry.get(key) for key in _TEXTS),
        )
        for name, entry in block["sources"].items()
    )


def _read_merged_labels(
    block: Mapping[str, Any], regions: Mapping[str, tuple[int, ...]], where: str | Path
) -> tuple[MergedLabel, ...]:
    """The merged labels; `regions` are nnU-Net's of each class, in which their values stand as well."""
    merged = tuple(
        MergedLabel(name, entry["value"], tuple(entry["classes"])) for name, entry in block.get("merged_labels", {}).items()
    )
    for label in merged:
        lacking = [name for name in label.classes if name in regions and label.value not in regions[name]]
        if lacking:
            raise UserError(
                f"{where}: merged label {label.name!r} has the value {label.value}, which `labels` does not list for "
                f"{', '.join(lacking)}; add it there"
            )
    return merged
