"""MergeSpec: the optional YAML of `cdpd merge`, read safely and checked key by key (docs/merge.md shows one)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import flag, known_mapping, load_yaml, mapping, text, texts

_Entry = TypeVar("_Entry")


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


_SOURCE_KEYS = tuple(SourceSpec.__dataclass_fields__)


@dataclass(frozen=True)
class DatasetSpec:
    """What the YAML says about one input dataset.

    labels: Name in the dataset -> merged name; None drops the label.
    synonyms: Whether names of the dataset, and those given here, may be other names of a class; else they stay as they are.
    source: For a dataset that is one source.
    sources: By source name, for a dataset that already holds several.
    """

    labels: Mapping[str, str | None] = field(default_factory=dict)
    synonyms: bool = True
    source: SourceSpec = SourceSpec()
    sources: Mapping[str, SourceSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeSpec:
    """The whole YAML; names as the user spelled them.

    nested: Class -> the classes it lies in, one if certain, several if not known which, none to undo a default.
    merged_labels: Name -> the classes that it may be, none to keep the name a class of its own.
    scoped: Class -> the sources of which it is a class of their own.
    prompts: Class -> sentences for the text encoder, none to make one from its name.
    """

    path: str
    datasets: Mapping[str, DatasetSpec]
    nested: Mapping[str, tuple[str, ...]]
    merged_labels: Mapping[str, tuple[str, ...]]
    compatible: tuple[tuple[str, ...], ...]
    scoped: Mapping[str, tuple[str, ...]]
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What a message on the merged dataset begins with: the YAML too, where it may be the cause."""
        said = self.datasets or self.nested or self.merged_labels or self.compatible or self.scoped or self.prompts
        return f"{self.path}: the merged dataset" if said else "the merged dataset"


def read_merge_spec(spec: str | Path | Mapping[str, Any] | None) -> MergeSpec:
    """Read a merge specification.

    Args:
        spec: YAML file, or what it would hold as a dict; None: everything by default.

    Raises:
        UserError: Not YAML, an unknown key (the known ones are listed), a key given twice, or a value of a wrong kind.
    """
    if spec is None or isinstance(spec, Mapping):
        return _merge_spec(spec, "merge spec")
    return _merge_spec(load_yaml(spec, "docs/merge.md"), str(spec))


def _merge_spec(content: Any, path: str) -> MergeSpec:
    content = known_mapping(content, ("datasets", "nested", "merged_labels", "compatible", "scoped", "prompts"), path)
    pairs = content.get("compatible") or ()
    if not isinstance(pairs, (list, tuple)) or any(not isinstance(p, (list, tuple)) or len(p) != 2 for p in pairs):
        raise UserError(f"{path}: `compatible` is a list of pairs, like [[duodenum, intestine]]")

    return MergeSpec(
        path=path,
        datasets=_entries(content, "datasets", path, _dataset_spec),
        nested=_entries(content, "nested", path, texts),
        merged_labels=_entries(content, "merged_labels", path, texts),
        scoped=_entries(content, "scoped", path, texts),
        prompts=_entries(content, "prompts", path, texts),
        compatible=tuple(texts(pair, f"{path}: compatible") for pair in pairs),
    )


def _dataset_spec(content: Any, where: str) -> DatasetSpec:
    content = known_mapping(content, ("labels", "sources", *_SOURCE_KEYS, "synonyms"), where)
    return DatasetSpec(
        labels=_entries(content, "labels", where, lambda target, at: None if target is None else text(target, at)),
        synonyms=flag(content.get("synonyms", True), f"{where}: synonyms"),
        source=_source_spec({key: value for key, value in content.items() if key in _SOURCE_KEYS}, where),
        sources=_entries(content, "sources", where, _source_spec),
    )


def _source_spec(content: Any, where: str) -> SourceSpec:
    said = {key: value for key, value in known_mapping(content, _SOURCE_KEYS, where).items() if value is not None}
    annotates = said.pop("annotates", None)
    return SourceSpec(
        annotates=None if annotates is None else texts(annotates, f"{where}: annotates"),
        **{key: text(value, f"{where}: {key}") for key, value in said.items()},
    )


def _entries(content: Mapping[str, Any], key: str, where: str, read: Callable[[Any, str], _Entry]) -> dict[str, _Entry]:
    """The mapping under a key, each of its values read by a function that is told where it stands."""
    where = f"{where}: {key}"
    return {name: read(entry, f"{where}: {name}") for name, entry in mapping(content.get(key), where).items()}
