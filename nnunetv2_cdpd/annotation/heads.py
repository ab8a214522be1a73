"""Heads: what each output of a network stands for by the dataset.json that it was trained with, and whether another one agrees.

Order counts: the k-th class of `labels` is the k-th head, the k-th source has the k-th task prompt.
"""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from nnunetv2_cdpd.classes import class_key


def moved_classes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Classes of one dataset.json that another one has at another head, or with other stored values; a renamed class stays.

    Args:
        before: That of the training.
        now: The one that its network would be used with.
    """
    old = {name: place for *place, name in _heads(before)}
    return [name for *place, name in _heads(now) if name in old and old[name] != place]


def differing_heads(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a network would have to answer for otherwise, in words ("spleen, now liver"): classes, stored values, sources.

    Another spelling of a class is no difference.
    """
    told = []
    for old, new in zip_longest(_heads(before), _heads(now)):
        if old is None or new is None or old[1] != new[1] or class_key(old[2]) != class_key(new[2]):
            told.append(_told(old and old[2], new and new[2]))
    sources = zip_longest(_sources(before), _sources(now))
    return told + [f"source {_told(old, new)}" for old, new in sources if old != new]


def _heads(dataset_json: Mapping[str, Any]) -> list[tuple[int, frozenset[int], str]]:
    """Number, stored values and name of each head; those of a softmax (no value is a list) are in the order of values."""
    labels = dataset_json.get("labels") or {}
    values = {name: frozenset(value if isinstance(value, list | tuple) else (value,)) for name, value in labels.items()}
    classes = [name for name, its in values.items() if name != "ignore" and its != {0}]
    if not any(isinstance(value, list | tuple) for value in labels.values()):
        classes.sort(key=lambda name: labels[name])
    return [(index, values[name], name) for index, name in enumerate(classes)]


def _sources(dataset_json: Mapping[str, Any]) -> list[str]:
    return list((dataset_json.get("cdpd") or {}).get("sources", ()))


def _told(old: str | None, new: str | None) -> str:
    return f"{old or 'none'}, now {new or 'none'}" if old != new else f"{old} (other stored values)"
