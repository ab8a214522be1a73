"""Settings: the network with its extension, as plans say it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.extension.joining import Joined
from nnunetv2_cdpd.planning.architecture import class_wording
from nnunetv2_cdpd.text.prompts import task_prompt

LEAST_FEATURES = 8


def extended_plans(plans: Mapping[str, Any], configuration: str, joined: Joined) -> dict[str, Any]:
    """A copy of a model's plans, in which its network has an extension of the new classes."""
    changed = deepcopy(dict(plans))
    architecture = changed["configurations"][configuration]["architecture"]
    kwargs = architecture["arch_kwargs"]
    kwargs["extensions"] = [*kwargs.get("extensions", ()), extension_settings(joined, kwargs)]
    return changed


def extension_settings(joined: Joined, arch_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What Extension takes from plans."""
    annotation, new = joined.annotation, joined.new_classes
    tasks = [
        source.task_prompt or task_prompt([*source.annotated_classes, *source.merged_labels]) for source in joined.new_sources
    ]
    stages = len(arch_kwargs["features_per_stage"])
    return {
        "class_prompts": [class_wording(annotation, name) for name in new],
        "task_prompts": tasks,
        "places": [annotation.classes.index(name) for name in new],
        "features_per_stage": [max(LEAST_FEATURES, width // 2) for width in arch_kwargs["features_per_stage"]],
        "n_conv_per_stage": [1] * (stages - 1),
        "limits": [limits_of(name, joined.former, annotation) for name in new],
    }


def limits_of(name: str, former: Annotation, annotation: Annotation) -> dict[str, Any]:
    """What the former classes say of where a new one can be (network/extension.py); numbers are of the former classes."""
    region = dict(zip(annotation.classes, map(frozenset, annotation.regions)))
    inner = [other for other in former.classes if region[other] < region[name]]
    outermost = [other for other in inner if not any(region[other] < region[holder] for holder in inner)]
    return {
        "apart": [k for k, other in enumerate(former.classes) if exclude_each_other(name, other, annotation)],
        "within": [[k] for k, other in enumerate(former.classes) if region[name] < region[other]],
        "holds": [former.classes.index(other) for other in outermost],  # where these are not, what lies in them is not asked for
    }


def exclude_each_other(name: str, other: str, annotation: Annotation) -> bool:
    """Whether no voxel can be of both classes: neither may lie in the other, and their borders are nowhere drawn differently."""
    line, its_line = ({one} | annotation.possible_ancestors(one) for one in (name, other))
    if name in its_line or other in line:
        return False
    shared = line & its_line
    return not any(frozenset((one, its)) in annotation.compatible for one in line - shared for its in its_line - shared)
