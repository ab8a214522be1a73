"""Known classes: what plans may name; nothing else is imported or called for them.

Plans come with downloaded models. nnU-Net's own commands resolve whatever name stands there; ours look here first.
"""

import inspect
import pydoc
import re
from typing import Any

from torch import nn

NETWORKS = "dynamic_network_architectures.", "nnunetv2_cdpd."
OPERATIONS = ("torch.nn.",)  # conv_op, norm_op, ...
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def known_class(name: Any, packages: tuple[str, ...] = NETWORKS) -> type[nn.Module]:
    """The class of a dotted name.

    Args:
        packages: In which it has to lie, each with its dot.

    Raises:
        ValueError: It lies elsewhere, or is no class of a network.
    """
    of = " or ".join(package.rstrip(".") for package in packages)
    if not isinstance(name, str) or not _DOTTED.fullmatch(name) or not name.startswith(packages):
        raise ValueError(f"{str(name)[:80]!r} is no class of {of}, and nothing else is imported")
    found = pydoc.locate(name)
    # A name may wander off, through what a module imported.
    if not isinstance(found, type) or not issubclass(found, nn.Module) or not f"{found.__module__}.".startswith(packages):
        raise ValueError(f"{name[:80]!r} is no class of a network in {of}")
    return found


def check_architecture(architecture: Any) -> None:
    """Check what an `architecture` of plans names, before nnU-Net builds it.

    Args:
        architecture: network_class_name, arch_kwargs and _kw_requires_import, as nnU-Net writes them.

    Raises:
        ValueError: A name is none of a known class, or an entry is of the wrong kind.
    """
    kinds = {"network_class_name": (str, "a text"), "arch_kwargs": (dict, "an object"), "_kw_requires_import": (list, "a list")}
    for key, (kind, wanted) in kinds.items():
        if not isinstance(architecture, dict) or not isinstance(architecture.get(key), kind):
            raise ValueError(f"`architecture` needs {wanted} as `{key}`")
    known_class(architecture["network_class_name"])
    arguments = architecture["arch_kwargs"]
    for key in architecture["_kw_requires_import"]:
        if not isinstance(key, str) or key not in arguments:
            raise ValueError(f"`_kw_requires_import` lists {str(key)[:80]!r}, which `arch_kwargs` has not")
        if arguments[key] is not None:
            known_class(arguments[key], NETWORKS + OPERATIONS)


def check_vit_arguments(model_name: Any, arguments: dict[str, Any]) -> None:
    """Check that timm's `create_model` is asked for a ViT that it knows, and for no file or download.

    Raises:
        ValueError: It is not.
    """
    import timm

    if not isinstance(model_name, str) or not timm.is_model(model_name):
        raise ValueError(f"{str(model_name)[:80]!r} is no model of timm")
    loading = inspect.signature(timm.create_model).parameters.keys() - {"kwargs"}
    if asked := sorted(loading & arguments.keys()):
        raise ValueError(f"`vision` may not set {', '.join(asked)}; weights are in the checkpoint")
