"""MergeSpec: the optional YAML of `cdpd merge`, read safely and checked key by key (docs/merge.md shows one)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import load_yaml


@dataclass(frozen=True)
class SourceSpec:
    """What the YAML says about one source; None: not said.

    annotates: Merged names of the classes and merged labels that the source labels wherever they occur.
    """

    name: str | None = None
    annotates: tuple[str, ...] | None = None
    task_prompt: str | None = None
    license: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class DatasetSpec:
    """What the YAML says about one input dataset.

    labels: Name in the dataset -> merged name; None drops the label.
    source: For a dataset that is one source.
    sources: By source name, for a dataset that already holds several.
    """

    labels: Mapping[str, str | None] = field(default_factory=dict)
    source: SourceSpec = SourceSpec()
    sources: Mapping[str, SourceSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeSpec:
    """The whole YAML; names as the user spelled them.

    nested: Class -> the classes it lies in, one if certain, several if not known which, none to undo a default.
    merged_labels: Name -> the classes that it may be, none to keep the name a class of its own.
    scoped: Class -> the sources of which it is a class of their own.
    """

    path: str = "merge spec"
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)
    nested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    merged_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compatible: tuple[tuple[str, str], ...] = ()
    scoped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_merge_spec(spec: str | Path | Mapping[str, Any] | None) -> MergeSpec:
    """Read a merge specification.

    Args:
        spec: YAML file, or what it would hold as a dict; None: everything by default.

    Raises:
        UserError: Not YAML, an unknown key (the known ones are listed), a key given twice, or a value of a wrong kind.
    """
    if spec is None:
        return MergeSpec()
    if isinstance(spec, Mapping):
        return _merge_spec(spec, "merge spec")
    content = load_yaml(spec)
    return _merge_spec({} if content is None else content, str(spec))


def _merge_spec(content: Any, path: str) -> MergeSpec:
    _check_keys(content, ("datasets", "nested", "merged_labels", "compatible", "scoped"), path)
    pairs = content.get("compatible") or ()
    if not isinstance(pairs, (list, tuple)) or any(not isinstance(p, (list, tuple)) or len(p) != 2 for p in pairs):
        raise UserError(f"{path}: `compatible` is a list of pairs, like [[duodenum, intestine]]")
    return MergeSpec(
        path=path,
        datasets={
            key: _dataset_spec(entry, f"{path}: datasets: {key}")
            for key, entry in _mapping(content.get("datasets"), f"{path}: datasets").items()
        },
        nested={
            name: _names(parents, f"{path}: nested: {name}")
            for name, parents in _mapping(content.get("nested"), f"{path}: nested").items()
        },
        merged_labels={
            name: _names(classes, f"{path}: merged_labels: {name}")
            for name, classes in _mapping(content.get("merged_labels"), f"{path}: merged_labels").items()
        },
        scoped={
            name: _names(sources, f"{path}: scoped: {name}")
            for name, sources in _mapping(content.get("scoped"), f"{path}: scoped").items()
        },
        compatible=tuple((_name(a, f"{path}: compatible"), _name(b, f"{path}: compatible")) for a, b in pairs),
    )


def _dataset_spec(content: Any, where: str) -> DatasetSpec:
    content = {} if content is None else content
    source_keys = tuple(SourceSpec.__dataclass_fields__)
    _check_keys(content, ("labels", "sources", *source_keys), where)
    labels = _mapping(content.get("labels"), f"{where}: labels")
    return DatasetSpec(
        labels={name: None if target is None else _name(target, f"{where}: labels: {name}") for name, target in labels.items()},
        source=_source_spec({key: value for key, value in content.items() if key in source_keys}, where),
        sources={
            name: _source_spec({} if entry is None else entry, f"{where}: sources: {name}")
            for name, entry in _mapping(content.get("sources"), f"{where}: sources").items()
        },
    )


def _source_spec(content: Any, where: str) -> SourceSpec:
    _check_keys(content, tuple(SourceSpec.__dataclass_fields__), where)
    said = {key: value for key, value in content.items() if value is not None}
    annotates = said.pop("annotates", None)
    return SourceSpec(
        annotates=None if annotates is None else _names(annotates, f"{where}: annotates"),
        **{key: _name(value, f"{where}: {key}") for key, value in said.items()},
    )


def _check_keys(content: Any, known: tuple[str, ...], where: str) -> None:
    unknown = [str(key) for key in _mapping(content, where) if key not in known]
    if unknown:
        raise UserError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")


def _mapping(content: Any, where: str) -> dict[str, Any]:
    """A mapping with its keys as text; dataset ids are read as numbers by YAML."""
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: expected `key: value` lines, got {content!r}")
    return {_name(key, where): value for key, value in content.items()}


def _name(value: Any, where: str) -> str:
    """A name as text; YAML reads a bare `no`, `on` or date as something else, which quotes prevent."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise UserError(f"{where}: expected a name, got {value!r}; put the name in quotes")
    return str(value)


def _names(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(_name(name, where) for name in (value if isinstance(value, (list, tuple)) else [value]))
