"""plans.json: read in one place; what is wrong with it is told by file and key, and what it names is looked up in `trusted`."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

from nnunetv2_cdpd import link
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.host import PLANS_FILE
from nnunetv2_cdpd.jobs.shapes import (
    FLAG,
    NAME,
    NUMBER,
    OBJECT,
    POSITIVE,
    TEXT,
    Shape,
    check_shape,
    list_of,
    map_of,
    none_or,
    read_shaped,
    record,
    whole_number,
)
from nnunetv2_cdpd.planning.architecture import NETWORK_CLASS_NAME, PERMUTED
from nnunetv2_cdpd.planning.vision_shape import VISION, check_vision
from nnunetv2_cdpd.released.preset import PAPER_NETWORK_CLASS_NAME
from nnunetv2_cdpd.trusted import (
    IMAGE_READER,
    LABEL_MANAGER,
    NETWORK,
    NORMALIZATION,
    OPERATION,
    PREPROCESSOR,
    RESAMPLING,
    UNET,
    trusted,
)

_AXES = list_of(whole_number(0, 2), 3, 3)
_INTENSITIES = record(dict.fromkeys(("mean", "std", "percentile_00_5", "percentile_99_5"), NUMBER))
_NAMING = record(  # what scoring reads
    {"configurations": map_of(OBJECT, "an object of configurations", least=1), "image_reader_writer": NAME},
    {"label_manager": NAME, "dataset_name": TEXT, "plans_name": TEXT},
)
_PLANS = record(
    {"transpose_forward": _AXES, "transpose_backward": _AXES},
    {
        "foreground_intensity_properties_per_channel": map_of(_INTENSITIES, "an object of channels"),
        "foreground_intensity_properties_by_modality": map_of(_INTENSITIES, "an object of channels"),
    },
)
_ARCHITECTURE = record({"network_class_name": NAME, "arch_kwargs": OBJECT, "_kw_requires_import": list_of(NAME)})
_RESAMPLED = ("data", "seg", "probabilities")
_CONFIGURATION = record(
    {
        "patch_size": list_of(whole_number(1), 2, 3),
        "spacing": list_of(POSITIVE, 2, 3),
        "normalization_schemes": list_of(NAME, 1),
        "use_mask_for_norm": list_of(FLAG, 1),
        "preprocessor_name": NAME,
        **{f"resampling_fn_{what}": NAME for what in _RESAMPLED},
        **{f"resampling_fn_{what}_kwargs": OBJECT for what in _RESAMPLED},
        "architecture": _ARCHITECTURE,
    },
    {"batch_size": whole_number(1), "batch_dice": FLAG, "previous_stage": none_or(NAME)},
)
_STAGES = list_of(whole_number(1), 1)
_SIZES = list_of(list_of(whole_number(1), 2, 3), 1)
_UNET = {"n_stages": whole_number(1), "strides": _SIZES, "kernel_sizes": _SIZES, "features_per_stage": _STAGES}
_PER_STAGE = ("strides", "kernel_sizes", "features_per_stage", "n_conv_per_stage", "n_blocks_per_stage")
_NUMBERS = list_of(whole_number())
_SENTENCES = list_of(NAME, 1)
_WORDING = Shape(  # of a class, one sentence or several
    "a text or a list of texts", lambda value: NAME.fits(value) or (_SENTENCES.fits(value) and all(map(NAME.fits, value)))
)
_PROMPTS = list_of(_WORDING, 1)
_EXTENSION = record(
    {
        "class_prompts": _PROMPTS,
        "task_prompts": list_of(NAME, 1),
        "places": list_of(whole_number(), 1),
        "features_per_stage": _STAGES,
        "n_conv_per_stage": list_of(whole_number(1)),
        "limits": list_of(record({"apart": _NUMBERS, "within": list_of(list_of(whole_number(), 1)), "holds": _NUMBERS}), 1),
    }
)
_CDPDNET = record(
    {
        **_UNET,
        "n_conv_per_stage_decoder": list_of(whole_number(1)),
        "unet_class_name": NAME,
        "patch_size": list_of(whole_number(1), 2, 3),
        "fused_stages": list_of(whole_number()),
        "vision": none_or(VISION),
        "text": record(
            {"encoder": NAME, "embed_dim": whole_number(1), "class_prompts": _PROMPTS, "modulate": FLAG}, {PERMUTED: FLAG}
        ),
        "task": none_or(
            record(
                {"prompts": list_of(NAME, 1), "universal": FLAG}, {"annotated_classes": none_or(list_of(list_of(whole_number())))}
            )
        ),
    },
    {
        "n_conv_per_stage": _STAGES,
        "n_blocks_per_stage": _STAGES,
        "conv_bias": FLAG,
        "deep_supervision": FLAG,
        "extensions": list_of(_EXTENSION),
    },
)
_OPERATIONS = ("conv_op", "norm_op", "dropout_op", "nonlin", "block")  # of a network, whether nnU-Net is to resolve them or not


def read_plans(path: Path, way_out: str, missing: str | None = None, networks: bool = True) -> dict[str, Any]:
    """nnU-Net plans, checked: the shapes of their entries, and every name that nnU-Net would resolve.

    Our resampling, which nnU-Net finds only where it is linked, is replaced by nnU-Net's, of which it is the faster twin.

    Args:
        way_out: Ends a message about a file that is not as it should be.
        missing: Ends that about one that is not there; None: the same.
        networks: Whether preprocessing and network are needed; scoring needs neither, and then a user's own may be named.

    Raises:
        UserError: There are none, or an entry is missing, of another shape, or names what is not known; the key is told.
    """
    plans = read_shaped(path, _NAMING, way_out, missing)
    trusted(plans["image_reader_writer"], IMAGE_READER, f"{path}: `image_reader_writer`", way_out)
    if "label_manager" in plans:
        trusted(plans["label_manager"], LABEL_MANAGER, f"{path}: `label_manager`", way_out)
    if networks:
        _check_networks(plans, path, way_out)
        for configuration in plans["configurations"].values():
            for key in (f"resampling_fn_{what}" for what in _RESAMPLED):
                if configuration.get(key) == link.RESAMPLING:
                    configuration[key] = resample_data_or_seg_to_shape.__name__
    return plans


def _check_networks(plans: Mapping[str, Any], where: Path, way_out: str) -> None:
    check_shape(plans, _PLANS, where, way_out)
    for key in ("transpose_forward", "transpose_backward"):
        if sorted(plans[key]) != [0, 1, 2]:
            raise UserError(f"{where}: `{key}` is {plans[key]}, not an order of the axes 0, 1, 2; {way_out}")
    if [plans["transpose_forward"][axis] for axis in plans["transpose_backward"]] != [0, 1, 2]:
        raise UserError(f"{where}: `transpose_backward` does not undo `transpose_forward`; {way_out}")
    for name in plans["configurations"]:
        configuration = _inherited(plans["configurations"], name, where, way_out)
        _check_configuration(configuration, f"configurations: {name}", where, way_out)


def plans_with_recorded_network(plans: Mapping[str, Any], configuration: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nnU-Net plans in which one configuration uses the network of a trained model's plans.

    Raises:
        UserError: The recorded plans have no such configuration, or their network is none that is known.
    """
    where, way_out = Path(PLANS_FILE), "this is what the training wrote when it began; train anew, without --c"
    configurations = recorded.get("configurations") or {}
    check_shape(configurations, record({configuration: OBJECT}), where, way_out, "configurations")
    resolved = _inherited(configurations, configuration, where, way_out)
    key = f"configurations: {configuration}: architecture"
    check_shape(resolved, record({"architecture": _ARCHITECTURE}), where, way_out, f"configurations: {configuration}")
    _check_architecture(resolved["architecture"], key, where, way_out)
    changed = deepcopy(dict(plans))
    changed["configurations"][configuration]["architecture"] = deepcopy(resolved["architecture"])
    return changed


def check_channels(plans: Mapping[str, Any], configuration: Mapping[str, Any], channels: int, where: Path, way_out: str) -> None:
    """Check that a configuration has what the preprocessing of so many channels needs.

    Raises:
        UserError: It has fewer normalizations than channels, or knows no intensities of one.
    """
    properties = plans.get("foreground_intensity_properties_per_channel")
    if properties is None:
        properties = plans.get("foreground_intensity_properties_by_modality", {})
    if lacking := [str(channel) for channel in range(channels) if str(channel) not in properties]:
        key = "foreground_intensity_properties_per_channel"
        raise UserError(f"{where}: `{key}` has nothing of channel {', '.join(lacking)}; {way_out}")
    for key in ("normalization_schemes", "use_mask_for_norm"):
        if len(configuration[key]) < channels:
            raise UserError(f"{where}: `{key}` has {len(configuration[key])} entries for {channels} channels; {way_out}")


def _inherited(configurations: Mapping[str, Any], name: str, where: Path, way_out: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    resolved: dict[str, Any] = {}
    line, current = [name], configurations[name]
    while True:
        resolved = {**current, **resolved}
        if "inherits_from" not in current:
            return resolved
        parent = current["inherits_from"]
        if not isinstance(parent, str) or parent not in configurations or parent in line:
            raise UserError(
                f"{where}: `configurations: {line[-1]}: inherits_from` is {str(parent)[:80]!r}, not another one of "
                f"{listed(list(configurations))}; {way_out}"
            )
        line.append(parent)
        current = configurations[parent]


def _check_configuration(configuration: Mapping[str, Any], key: str, where: Path, way_out: str) -> None:
    if "architecture" not in configuration and "UNet_class_name" in configuration:
        return  # plans of nnU-Net before 2.3, whose networks nnU-Net names itself
    check_shape(configuration, _CONFIGURATION, where, way_out, key)
    place = f"{where}: `{key}"
    if not len(configuration["patch_size"]) == len(configuration["spacing"]):
        raise UserError(f"{place}: patch_size` and `spacing` have different numbers of axes; {way_out}")
    trusted(configuration["preprocessor_name"], PREPROCESSOR, f"{place}: preprocessor_name`", way_out)
    for scheme in configuration["normalization_schemes"]:
        trusted(scheme, NORMALIZATION, f"{place}: normalization_schemes`", way_out)
    for what in _RESAMPLED:
        function = trusted(configuration[f"resampling_fn_{what}"], RESAMPLING, f"{place}: resampling_fn_{what}`", way_out)
        known = inspect.signature(function).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        unknown = [] if takes_any else [name for name in configuration[f"resampling_fn_{what}_kwargs"] if name not in known]
        if unknown:
            raise UserError(
                f"{place}: resampling_fn_{what}_kwargs` has {listed(unknown)}, which {function.__name__} has not; {way_out}"
            )
    _check_architecture(configuration["architecture"], f"{key}: architecture", where, way_out)


def _check_architecture(architecture: Mapping[str, Any], key: str, where: Path, way_out: str) -> None:
    place, kwargs = f"{where}: `{key}", architecture["arch_kwargs"]
    name = architecture["network_class_name"]
    trusted(name, NETWORK, f"{place}: network_class_name`", way_out)
    for operation in {*architecture["_kw_requires_import"], *(name for name in _OPERATIONS if name in kwargs)}:
        if operation not in kwargs:
            raise UserError(f"{place}: _kw_requires_import` lists {operation!r}, which `arch_kwargs` has not; {way_out}")
        if kwargs[operation] is not None:
            trusted(kwargs[operation], OPERATION, f"{place}: arch_kwargs: {operation}`", way_out)
    if name not in (NETWORK_CLASS_NAME, PAPER_NETWORK_CLASS_NAME):
        return
    check_shape(kwargs, _CDPDNET, where, way_out, f"{key}: arch_kwargs")
    unet = trusted(kwargs["unet_class_name"], UNET, f"{place}: arch_kwargs: unet_class_name`", way_out)
    known = {
        *inspect.signature(unet).parameters,
        "unet_class_name",
        "patch_size",
        "fused_stages",
        "vision",
        "text",
        "task",
        "extensions",
    }
    if unknown := [name for name in kwargs if name not in known]:
        raise UserError(f"{place}: arch_kwargs` has {listed(unknown)}, which {unet.__name__} has not; {way_out}")
    stages = kwargs["n_stages"]
    for entry in _PER_STAGE:
        if entry in kwargs and len(kwargs[entry]) != stages:
            raise UserError(f"{place}: arch_kwargs: {entry}` has {len(kwargs[entry])} entries for {stages} stages; {way_out}")
    if max(kwargs["fused_stages"], default=0) >= stages:
        raise UserError(f"{place}: arch_kwargs: fused_stages` is {kwargs['fused_stages']} of {stages} stages; {way_out}")
    if kwargs["vision"] is not None:
        check_vision(kwargs["vision"], f"{place}: arch_kwargs: vision", way_out)
