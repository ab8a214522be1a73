"""The YAML of `cdpd convert --spec`: one's own data as the same declaration that the public datasets have."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.conversion.declaration import Erratum, SourceDataset
from nnunetv2_cdpd.conversion.download import template_pattern
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import flag, known_mapping, load_yaml, mapping, text, texts

_MOST_LETTERS = 100  # of a name, which leaves a case its own
_NEEDED = ("name", "images", "labels", "values")
_TEXTS = ("name", "title", "region", "license", "link", "reference", "size", "case", "layout")
_FLAGS = ("dicom", "slices", "masks", "rois", "join_rois", "sources_by_content", "unlabelled_images", "imageless_labels")
_MAPPINGS = ("values", "nested", "unions", "merged_labels", "sources")
_OTHERS = ("images", "labels", "mask_files", "foreign", "annotates", "leave_out", "ignore_values", "hu_offset", "fill_gaps")
_EXAMPLE = "docs/conversion.md"


def read_declaration(path: str | Path) -> SourceDataset:
    """Read a declaration.

    Raises:
        UserError: Not YAML, an unknown or missing key, a value of a wrong kind, or facts that contradict each other.
    """
    content = known_mapping(load_yaml(path, _EXAMPLE), (*_TEXTS, *_FLAGS, *_MAPPINGS, *_OTHERS), str(path))
    if missing := [key for key in _NEEDED if content.get(key) in (None, "", {}, [])]:
        raise UserError(f"{path}: {', '.join(missing)} missing; needed are {', '.join(_NEEDED)}; {_EXAMPLE} has an example")
    said: dict[str, Any] = {"title": content["name"], "region": "", "license": "", "link": "", "reference": "", "size": ""}
    said |= {key: text(content[key], f"{path}: {key}") for key in _TEXTS if key in content}
    if not said["name"].replace("_", "").isalnum() or not said["name"].isascii():
        raise UserError(f"{path}: name: {said['name']!r} becomes part of file names; give letters, digits and _ only")
    if len(said["name"]) > _MOST_LETTERS:
        raise UserError(f"{path}: name: {len(said['name'])} letters; it becomes part of file names, give at most {_MOST_LETTERS}")
    said |= {key: flag(content[key], f"{path}: {key}") for key in _FLAGS if key in content}
    for key in (key for key in ("images", "labels", "mask_files", "foreign") if content.get(key) is not None):
        said[key] = tuple(template.removeprefix("./") for template in texts(content[key], f"{path}: {key}"))
        if wrong := [template for template in said[key] if "\\" in template or template.startswith("/") or ":/" in template]:
            raise UserError(f"{path}: {key}: {wrong[0]!r}; write it from the folder that is converted on, with /")
        may_lack_case = key == "foreign" or (key == "labels" and said.get("rois"))
        if not may_lack_case and (without := [template for template in said[key] if "{case}" not in template]):
            raise UserError(f"{path}: {key}: {without[0]!r} has no {{case}}, which stands for the case in file names")
    _check_patterns(said, path)
    masks = said.get("masks", False)
    for key in [key for key, has_masks in (("labels", masks), ("mask_files", "mask_files" in said)) if has_masks]:
        if any("{structure}" not in template for template in said[key]):
            raise UserError(f"{path}: {key}: masks need {{structure}}, the name of the structure, in the file name")
    said["values"] = _values(content["values"], f"{path}: values", masks or said.get("rois", False), "mask_files" in said)
    said["ignore_values"] = _ignore_values(content.get("ignore_values"), f"{path}: ignore_values")
    if isinstance(offset := content.get("hu_offset", 0), bool) or not isinstance(offset, (int, float)):
        raise UserError(f"{path}: hu_offset: expected a number, got {offset!r}")
    said["hu_offset"] = offset
    said["fill_gaps"] = content.get("fill_gaps")
    if said["fill_gaps"] is not None and type(said["fill_gaps"]) is not int:
        raise UserError(f"{path}: fill_gaps: expected a number of slices, got {said['fill_gaps']!r}")
    nested, left_out = (mapping(content.get(key), f"{path}: {key}") for key in ("nested", "leave_out"))
    said["nested"] = {name: text(outer, f"{path}: nested: {name}") for name, outer in nested.items()}
    for key in ("unions", "merged_labels", "sources"):
        members = mapping(content.get(key), f"{path}: {key}")
        said[key] = {name: texts(entry, f"{path}: {key}: {name}") for name, entry in members.items()}
    if said["sources"] and not said.get("sources_by_content"):
        raise UserError(
            f"{path}: sources: nothing tells which case is of which; add `sources_by_content: true`, or make two datasets"
        )
    if content.get("annotates") is not None:
        said["annotates"] = texts(content["annotates"], f"{path}: annotates")
    reasons = {case: text(why, f"{path}: leave_out: {case}") for case, why in left_out.items()}
    said["errata"] = tuple(Erratum((case,), why, skip=True) for case, why in reasons.items())
    said.setdefault("layout", "\n".join((*said["images"], *said["labels"])))
    return SourceDataset(num_cases=None, where=str(path), **said)


def _check_patterns(said: Mapping[str, Any], path: str | Path) -> None:
    """Raise UserError if `case` or a template cannot be looked for."""
    if (case := said.get("case")) is not None:
        try:
            named = re.compile(case).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise UserError(f"{path}: case: {case!r} is no regular expression ({error}); [0-9]+ is one") from error
        if named:
            raise UserError(f"{path}: case: {case!r} names a group; write (...) in place of (?P<{next(iter(named))}>...)")
    for key in ("images", "labels", "mask_files", "foreign"):
        for template in said.get(key, ()):
            if wrong := [name for name in re.findall(r"\{(\w+)\}", template) if not name.isidentifier()]:
                raise UserError(f"{path}: {key}: {{{wrong[0]}}} in {template!r} is no word; {{case}} stands for the case")
            try:
                template_pattern(template, case or SourceDataset.case)
            except ValueError as error:
                raise UserError(f"{path}: {key}: {template!r} cannot be looked for ({error})") from error


def _ignore_values(content: Any, where: str) -> tuple[int, ...]:
    values = content if isinstance(content, list) else [] if content is None else [content]
    if wrong := [value for value in values if isinstance(value, bool) or not isinstance(value, int) or value < 1]:
        raise UserError(f"{where}: {wrong[0]!r} is no label value; write `[255]`")
    return tuple(values)


def _values(content: Any, where: str, masks: bool, both: bool) -> dict[int | str, str | None]:
    if not isinstance(content, Mapping):  # whose keys are numbers, unless they name masks
        raise UserError(f"{where}: expected `value: structure` lines, got {content!r}")
    values: dict[int | str, str | None] = {}
    for key, name in content.items():
        if both and isinstance(key, str):  # the name of a mask, beside label values
            values[key] = None if name in (None, "background") else text(name, f"{where}: {key}")
            continue
        if not masks and (isinstance(key, bool) or not isinstance(key, int) or key < 0):
            raise UserError(f"{where}: {key!r} is no label value; write `1: liver`")
        if key == 0 and not masks and name not in (None, "background"):
            raise UserError(f"{where}: 0 is background, not {name!r}")
        values[str(key) if masks else key] = None if name in (None, "background") else text(name, f"{where}: {key}")
    return values
