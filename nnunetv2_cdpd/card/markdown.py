"""A card as Markdown, from its JSON alone; every text in it is escaped, whoever wrote it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nnunetv2_cdpd.card.text import escaped, one_plain_line
from nnunetv2_cdpd.card.words import WORDS
from nnunetv2_cdpd.jobs import tables
from nnunetv2_cdpd.licenses import read_terms
from nnunetv2_cdpd.pages.template import text_of

_MAIN_PACKAGES = ("nnunetv2-cdpd", "nnunetv2", "torch", "timm", "open-clip-torch", "numpy")
_MADE = re.compile(r"\n<!-- Made by `cdpd card`, which makes it anew unless these words were changed: ([0-9a-f]{16}) -->\n\Z")


class _Escaped(str):
    """What a filter has made ready already."""


def card_markdown(card: Mapping[str, Any]) -> str:
    """The Markdown of a card, with a last line by which `is_as_made` knows it again."""
    words = {key: card["words"].get(key, []) for key in WORDS}
    text = text_of("card/card.md", _finalized, _FILTERS, card=card, words=words)
    text = re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"
    return f"{text}\n<!-- Made by `cdpd card`, which makes it anew unless these words were changed: {_digest(text)} -->\n"


def is_as_made(text: str) -> bool:
    """Whether a Markdown file is one of ours that nobody has changed."""
    found = _MADE.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _finalized(value: Any) -> Any:
    return value if isinstance(value, _Escaped) else escaped(value)


def _answer(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"


def _number(value: float | None) -> str:
    return "none" if value is None else tables.number(value, 3)


def _interval(limits: list[float] | None) -> str:
    return "none" if limits is None else tables.interval((limits[0], limits[1]))


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"({_setting(entry)})" if isinstance(entry, list) else _setting(entry) for entry in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _annotates(source: Mapping[str, Any]) -> str:
    merged = [f"{name} (one of {', '.join(group)})" for name, group in source["merged_labels"].items()]
    return ", ".join([*source["classes"], *merged])


def _versions(packages: list[dict[str, Any]]) -> str:
    return ", ".join(f"{package['name']} {package['version']}" for package in packages)


def _main_packages(packages: list[dict[str, Any]]) -> str:
    return _versions([package for package in packages if package["name"] in _MAIN_PACKAGES])


def _hub_license(said: list[str]) -> list[str]:
    """Lines of the metadata: the hub knows SPDX's identifiers in small letters, and "other" with a name."""
    if not said:
        return []
    identifier = read_terms(said[0]).spdx
    if identifier is not None:
        return [_Escaped(f"license: {identifier.lower()}")]
    return [_Escaped("license: other"), _Escaped(f"license_name: {json.dumps(one_plain_line(said[0], 300))}")]


_FILTERS: dict[str, Callable[[Any], Any]] = {
    "answer": _answer,
    "number": _number,
    "interval": _interval,
    "setting": _setting,
    "annotates": _annotates,
    "versions": _versions,
    "main_packages": _main_packages,
    "hub_license": _hub_license,
}
