"""The YAML of `cdpd convert --spec`: one's own data as the same declaration that the public datasets have."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.conversion.declaration import Erratum, SourceDataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import load_yaml

_NEEDED = ("name", "images", "labels", "values")
_TEXTS = ("name", "title", "region", "license", "link", "reference", "size", "case", "layout")
_FLAGS = ("dicom", "slices", "masks", "unlabelled_images")
_MAPPINGS = ("values", "nested", "unions", "merged_labels")
_OTHERS = ("images", "labels", "annotates", "leave_out")


def read_declaration(path: str | Path) -> SourceDataset:
    """Read a declaration.

    Raises:
        UserError: Not YAML, an unknown or missing key, a value of a wrong kind, or facts that contradict each other.
    """
    content = load_yaml(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected `key: value` lines (docs/conversion.md shows an example)")
    known = (*_TEXTS, *_FLAGS, *_MAPPINGS, *_OTHERS)
    if unknown := [str(key) for key in content if key not in known]:
        raise UserError(f"{path}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    if missing := [key for key in _NEEDED if content.get(key) in (None, "", {}, [])]:
        raise UserError(f"{path}: {', '.join(missing)} missing; needed are {', '.join(_NEEDED)}")
    said: dict[str, Any] = {"title": content["name"], "region": "", "license": "", "link": "", "reference": "", "size": ""}
    said |= {key: _text(content[key], path, key) for key in _TEXTS if key in content}
    if not said["name"].replace("_", "").isalnum() or not said["name"].isascii():
        raise UserError(f"{path}: name: {said['name']!r} becomes part of file names; give letters, digits and _ only")
    said |= {key: _flag(content[key], path, key) for key in _FLAGS if key in content}
    for key in ("images", "labels"):
        said[key] = _names(content[key], path, key)
        if without := [template for template in said[key] if "{case}" not in template]:
            raise UserError(f"{path}: {key}: {without[0]!r} has no {{case}}, which stands for the case in file names")
    masks = said.get("masks", False)
    if masks and any("{structure}" not in template for template in said["labels"]):
        raise UserError(f"{path}: labels: masks need {{structure}}, the name of the structure, in the file name")
    said["values"] = _values(content["values"], path, masks)
    said["nested"] = {k: _text(v, path, f"nested: {k}") for k, v in _mapping(content, "nested", path).items()}
    for key in ("unions", "merged_labels"):
        said[key] = {name: _names(entry, path, f"{key}: {name}") for name, entry in _mapping(content, key, path).items()}
    if content.get("annotates") is not None:
        said["annotates"] = _names(content["annotates"], path, "annotates")
    left_out = _mapping(content, "leave_out", path)
    said["errata"] = tuple(Erratum((case,), _text(why, path, f"leave_out: {case}"), skip=True) for case, why in left_out.items())
    said.setdefault("layout", "\n".join((*said["images"], *said["labels"])))
    assert set(said) <= {field.name for field in fields(SourceDataset)}
    return SourceDataset(num_cases=None, where=str(path), **said)


def _values(content: Any, path: str | Path, masks: bool) -> dict[int | str, str | None]:
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: values: expected `value: structure` lines, got {content!r}")
    values: dict[int | str, str | None] = {}
    for key, name in content.items():
        if not masks and (isinstance(key, bool) or not isinstance(key, int) or key < 0):
            raise UserError(f"{path}: values: {key!r} is no label value; write `1: liver`")
        if key == 0 and not masks and name not in (None, "background"):
            raise UserError(f"{path}: values: 0 is background, not {name!r}")
        values[str(key) if masks else key] = None if name in (None, "background") else _text(name, path, f"values: {key}")
    return values


def _mapping(content: Mapping, key: str, path: str | Path) -> dict[str, Any]:
    entry = content.get(key) or {}
    if not isinstance(entry, Mapping):
        raise UserError(f"{path}: {key}: expected `name: ...` lines, got {entry!r}")
    return {_text(name, path, key): value for name, value in entry.items()}


def _text(value: Any, path: str | Path, key: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise UserError(f"{path}: {key}: expected text, got {value!r}; put it in quotes")
    return str(value)


def _flag(value: Any, path: str | Path, key: str) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{path}: {key}: expected true or false, got {value!r}")
    return value


def _names(value: Any, path: str | Path, key: str) -> tuple[str, ...]:
    return tuple(_text(name, path, key) for name in (value if isinstance(value, list) else [value]))
