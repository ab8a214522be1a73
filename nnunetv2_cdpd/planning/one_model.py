"""Whether trainings are of one model: what their plans have to agree in, since nnU-Net reads one plans.json for all folds.

The last training that begins writes it. A fold of other plans is then predicted with what it was not trained with, mostly
without an error.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nnunetv2_cdpd.network.vision_settings import VisionSettings
from nnunetv2_cdpd.planning.architecture import NETWORK_CLASS_NAME
from nnunetv2_cdpd.released.preset import PAPER_NETWORK_CLASS_NAME

_TURNED = "WithReorient"  # ends the names of nnU-Net's readers that turn images; the others read alike
_PREPROCESSING = ("spacing", "normalization_schemes", "use_mask_for_norm", "preprocessor_name")
_INTENSITIES = "foreground_intensity_properties_per_channel"
_WITHOUT_INTENSITIES = {f"{name}Normalization" for name in ("ZScore", "No", "RescaleTo01", "RGBTo01")}  # nnU-Net's
_VISION = "arch_kwargs: vision"
# Sentences, which the weights hold as embeddings (classes and sources are compared by dataset.json); what only training has
_NO_MATTER = {
    *("arch_kwargs: deep_supervision", "arch_kwargs: text: class_prompts", "arch_kwargs: task: prompts"),
    *(f"{_VISION}: guide", f"{_VISION}: token_dropout", f"{_VISION}: adapters"),
}
# The fingerprint of a few more cases changes what is measured: a share of a spacing, of the standard deviation of HU
_SAME_SPACING, _SAME_INTENSITIES = 0.01, 0.05


def differing_plans(before: Mapping[str, Any], now: Mapping[str, Any], configuration: str) -> list[str]:
    """Keys of preprocessing and network in which plans differ, in words ("spacing", "vision: mean").

    None where one of them has no such configuration, or is of a network of nnU-Net's.
    """
    old, new = (_resolved(plans, configuration) for plans in (before, now))
    if old is None or new is None:
        return []
    network, its = old.get("architecture"), new.get("architecture")
    ours = {NETWORK_CLASS_NAME, PAPER_NETWORK_CLASS_NAME}
    if not all(isinstance(each, Mapping) and each.get("network_class_name") in ours for each in (network, its)):
        return []
    told = [] if before.get("transpose_forward") == now.get("transpose_forward") else ["transpose_forward"]
    readers = (str(plans.get("image_reader_writer")) for plans in (before, now))
    told += ["image_reader_writer"] if len({name.endswith(_TURNED) for name in readers}) > 1 else []
    told += [key for key in _PREPROCESSING if not _same(old.get(key), new.get(key))]
    schemes = old.get("normalization_schemes") or ()
    read = {str(channel) for channel, scheme in enumerate(schemes) if scheme not in _WITHOUT_INTENSITIES}
    if not _same_intensities(before.get(_INTENSITIES), now.get(_INTENSITIES), read):
        told.append(_INTENSITIES)
    return told + [key.removeprefix("arch_kwargs: ") for key in _differing(network, its, "")]


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
        if key == _VISION:
            old, new = ({**asdict(VisionSettings()), **its} for its in (old, new))
        names = dict.fromkeys([*old, *new])
        return [told for name in names for told in _differing(old.get(name), new.get(name), f"{key}: {name}" if key else name)]
    return [] if _same(old, new, _SAME_INTENSITIES if key == f"{_VISION}: intensity_windows" else _SAME_SPACING) else [key]


def _same(old: Any, new: Any, share: float = _SAME_SPACING) -> bool:
    if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str):
        return len(old) == len(new) and all(_same(*pair, share) for pair in zip(old, new))
    if isinstance(old, float) or isinstance(new, float):
        return _is_number(old) and _is_number(new) and math.isclose(old, new, rel_tol=share, abs_tol=share)
    return bool(old == new)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _same_intensities(old: Any, new: Any, channels: Collection[str]) -> bool:
    try:
        return all(
            abs(old[channel][key] - new[channel][key]) <= _SAME_INTENSITIES * old[channel]["std"]
            for channel in channels
            for key in ("mean", "std", "percentile_00_5", "percentile_99_5")
        )
    except (KeyError, TypeError):  # plans of another release, or none
        return bool(old == new)
