"""Whether trainings are of one model: what their plans have to agree in, since nnU-Net reads one plans.json for all folds.

The last training that begins writes it. A fold of other plans is then predicted with what it was not trained with, mostly
without an error.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_PREPROCESSING = ("spacing", "normalization_schemes", "use_mask_for_norm")
_INTENSITIES = "foreground_intensity_properties_per_channel"
# Sentences, which the weights hold as embeddings (classes and sources are compared by dataset.json); heads that only training has
_NO_MATTER = {"arch_kwargs: deep_supervision", "arch_kwargs: text: class_prompts", "arch_kwargs: task: prompts"}
_ROUNDED = 0.01  # share of a setting that is measured, as a window of HU: the fingerprint of a few more cases
_SAME_INTENSITIES = 0.05  # of their standard deviation


def differing_plans(before: Mapping[str, Any], now: Mapping[str, Any], configuration: str) -> list[str]:
    """Keys of preprocessing and network in which plans differ, in words ("spacing", "vision: mean").

    None where one of them has no such configuration, or no network of its own, as those of nnU-Net before 2.3.
    """
    old, new = (_resolved(plans, configuration) for plans in (before, now))
    if old is None or new is None or "architecture" not in old or "architecture" not in new:
        return []
    told = [key for key in _PREPROCESSING if not _same(old.get(key), new.get(key))]
    if not _same_intensities(before.get(_INTENSITIES), now.get(_INTENSITIES)):
        told.append(_INTENSITIES)
    return told + [key.removeprefix("arch_kwargs: ") for key in _differing(old["architecture"], new["architecture"], "")]


def _resolved(plans: Mapping[str, Any], configuration: str) -> Mapping[str, Any] | None:
    """A configuration with what it inherits; what is no plan has none."""
    configurations, found, seen = plans.get("configurations"), dict[str, Any](), set[str]()
    name: Any = configuration
    while isinstance(configurations, Mapping) and isinstance(name, str) and name not in seen:
        seen.add(name)
        entry = configurations.get(name)
        found, name = ({**entry, **found}, entry.get("inherits_from")) if isinstance(entry, Mapping) else (found, None)
    return found or None


def _differing(old: Any, new: Any, key: str) -> list[str]:
    if key in _NO_MATTER:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        return [told for name in names for told in _differing(old.get(name), new.get(name), f"{key}: {name}" if key else name)]
    return [] if _same(old, new) else [key]


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=_ROUNDED, abs_tol=_ROUNDED)
    return bool(old == new)


def _same_intensities(old: Any, new: Any) -> bool:
    try:
        return old.keys() == new.keys() and all(
            abs(old[channel][key] - new[channel][key]) <= _SAME_INTENSITIES * old[channel]["std"]
            for channel in old
            for key in ("mean", "std", "percentile_00_5", "percentile_99_5")
        )
    except (AttributeError, KeyError, TypeError):  # plans of another release, or none
        return bool(old == new)
