"""CDPDNet's entry in nnU-Net plans: made from a configuration's plain U-Net entry, the dataset and a few settings.

Plans hold all that is needed to build the network: nnU-Net's predictor builds it from plans.json alone, without our
trainer object, the training data or the files of pretrained weights.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs.shapes import check_shape
from nnunetv2_cdpd.network.cdpdnet import MAX_FUSED_STAGES, default_fused_stages, default_slice_step
from nnunetv2_cdpd.network.slice_encoder import GRAY, WINDOWS
from nnunetv2_cdpd.network.vision_settings import CLOSED
from nnunetv2_cdpd.planning.vision_shape import VISION, check_vision
from nnunetv2_cdpd.pretrained.choices import LEARNED, TEXT_WEIGHTS, VISION_ENCODER, encoder_choice
from nnunetv2_cdpd.pretrained.encoder_choice import find_encoder, is_file
from nnunetv2_cdpd.pretrained.encoders import VisionEncoder
from nnunetv2_cdpd.released.preprocessing import HU_WINDOW
from nnunetv2_cdpd.released.preset import PAPER_NETWORK_CLASS_NAME
from nnunetv2_cdpd.text.prompts import class_prompt, task_prompt, universal_task_prompt

NETWORK_CLASS_NAME = "nnunetv2_cdpd.network.CDPDNet"
# Usual windows of CT: level -600, width 1500; 40, 400; 400, 1800
LUNG_HU, SOFT_TISSUE_HU, BONE_HU = (-1350.0, 150.0), (-160.0, 240.0), (-500.0, 1300.0)
_CORRECT = "correct the plans, or the trainer's recipe, as docs/training.md has it"
_SLICE_AXIS = 0  # nnU-Net's planner transposes the axis of the largest spacing to the front
PERMUTED = "permuted"  # key of the plans' `text`: every class has the embedding of another one
UNETS = ("PlainConvUNet", "ResidualEncoderUNet")  # of dynamic_network_architectures


@dataclass(frozen=True)
class NetworkSettings:
    """What a planner or trainer may choose about CDPDNet's added parts.

    vision_encoder: Of vision tokens, in place of whatever ViT the plans name; a name that pretrained/encoder_choice.py knows.
        None: what the plans say, and where they say nothing there are no vision tokens.
    vision_tokens: False: none, whatever the plans and the user say (ablation).
    text_encoder: open_clip "MODEL/PRETRAINED", or "learned": embeddings are learned with the network, from no text.
    text_embed_dim: E, width of the text embeddings.
    modulate_by_text: False: no text modulation (ablation).
    permute_text: True: every class gets the text embedding of another one (control).
    task_prompts: False: no task prompt map, no tasks (ablation).
    ct_window_hu: (low, high) in HU, what the vision encoder sees of a CT channel.
    ct_windows_hu: Three of them, where it sees three (vision `channels` "windows").
    vision: Further settings of vision tokens, by their names in plans (docs/training.md), which those in plans give way to.
    max_fused_stages: Encoder stages with vision tokens at most, the deepest ones; the finest costs most.
    """

    vision_encoder: str | None = None
    vision_tokens: bool = True
    text_encoder: str = "ViT-B-32/openai"
    text_embed_dim: int = 512
    modulate_by_text: bool = True
    task_prompts: bool = True
    ct_window_hu: tuple[float, float] = HU_WINDOW
    ct_windows_hu: tuple[tuple[float, float], ...] = (LUNG_HU, SOFT_TISSUE_HU, BONE_HU)
    vision: Mapping[str, Any] = field(default_factory=dict)
    max_fused_stages: int = MAX_FUSED_STAGES
    permute_text: bool = False

    def with_chosen_encoder(self) -> "NetworkSettings":
        """The same with the vision encoder that the user named outside of plans and trainer, if there is one."""
        return replace(self, vision_encoder=encoder_choice() or self.vision_encoder)

    @property
    def vision_weights_name(self) -> str | None:
        """Under which the weights of the named encoder are looked for; None where none is named."""
        return find_encoder(self.vision_encoder).name if self.vision_encoder is not None and self.vision_tokens else None


def cdpd_architecture(
    configuration: Mapping[str, Any],
    annotation: Annotation,
    intensity_properties: Mapping[str, Mapping[str, float]],
    settings: NetworkSettings,
) -> dict[str, Any]:
    """Turn the architecture of a plans configuration into CDPDNet's.

    An entry that is CDPDNet's or the paper's already keeps its class, its U-Net, its fused stages and its `vision`, which a
    planner (or the user, by editing the plans) chose, unless another encoder is named; prompts always follow the dataset,
    ablations the settings.

    Args:
        configuration: One resolved configuration of nnU-Net plans; not changed.
        annotation: Of the dataset to train on.
        intensity_properties: nnU-Net's foreground_intensity_properties_per_channel.
        settings: See there.

    Returns:
        The new `architecture` entry, JSON-able.

    Raises:
        UserError: The configuration's network is none that CDPDNet is built on, the named vision encoder or a setting of vision
            tokens is none for it, or there is no text to permute.
    """
    architecture = deepcopy(dict(configuration["architecture"]))
    unet = dict(architecture["arch_kwargs"])
    added: dict[str, Any] = {}
    class_name = architecture["network_class_name"]
    if class_name in (NETWORK_CLASS_NAME, PAPER_NETWORK_CLASS_NAME):
        added = {key: unet.pop(key) for key in ("unet_class_name", "fused_stages", "vision", "patch_size", "text", "task")}
    elif class_name.rsplit(".", 1)[-1] in UNETS:
        added["unet_class_name"], class_name = class_name, NETWORK_CLASS_NAME
        added["fused_stages"] = default_fused_stages(unet["strides"], settings.max_fused_stages)
    else:
        raise UserError(
            f"plans: CDPDNet is not built on {class_name}; plan with nnUNetPlannerCDPD, "
            "ExperimentPlanner or one of nnU-Net's nnUNetPlannerResEnc presets"
        )
    step = default_slice_step(unet["strides"], added["fused_stages"], _SLICE_AXIS)
    planned = added.get("vision")
    added["vision"] = (
        _vision_entry(planned, step, class_name, configuration["normalization_schemes"], intensity_properties, settings)
        if settings.vision_tokens
        else None
    )
    class_prompts, task_prompts = dataset_prompts(annotation)
    added["patch_size"] = [int(size) for size in configuration["patch_size"]]
    added["text"] = {
        "encoder": settings.text_encoder,
        "embed_dim": settings.text_embed_dim,
        "class_prompts": class_prompts,
        "modulate": settings.modulate_by_text,
    }
    if settings.permute_text:
        if settings.text_encoder == LEARNED or len(class_prompts) < 2:
            raise UserError(
                "text cannot be permuted: it takes two classes or more, with embeddings of text that are not learned; choose "
                f"another trainer, or unset {TEXT_WEIGHTS}"
            )
        added["text"][PERMUTED] = True
    added["task"] = {"prompts": task_prompts, "universal": True} if settings.task_prompts else None
    architecture["network_class_name"] = class_name
    architecture["arch_kwargs"] = {**unet, **added}
    return architecture


def dataset_prompts(annotation: Annotation) -> tuple[list[str | list[str]], list[str]]:
    """Prompts of the classes, several of those to which the user gave several; of the tasks, one for each source and the
    universal one.
    """
    tasks = [
        source.task_prompt or task_prompt([*source.annotated_classes, *source.merged_labels]) for source in annotation.sources
    ]
    classes = [class_wording(annotation, name) for name in annotation.classes]
    return classes, [*tasks, universal_task_prompt(annotation.classes)]


def class_wording(annotation: Annotation, name: str) -> str | list[str]:
    """The sentence or sentences of a class, JSON-able: the user's own, else one made from its name."""
    own = annotation.class_prompts.get(name) or (class_prompt(name),)
    return own[0] if len(own) == 1 else list(own)


def plans_with_cdpd(
    plans: Mapping[str, Any], configuration: str, annotation: Annotation, settings: NetworkSettings
) -> dict[str, Any]:
    """A copy of nnU-Net plans in which one configuration uses CDPDNet."""
    changed = deepcopy(dict(plans))
    resolved = PlansManager(changed).get_configuration(configuration).configuration
    changed["configurations"][configuration]["architecture"] = cdpd_architecture(
        resolved, annotation, plans["foreground_intensity_properties_per_channel"], settings
    )
    return changed


def _vision_entry(
    planned: Mapping[str, Any] | None,
    slice_step: int,
    class_name: str,
    schemes: Sequence[str],
    properties: Mapping[str, Mapping[str, float]],
    settings: NetworkSettings,
) -> dict[str, Any] | None:
    """`vision` for the plans; None: no vision tokens.

    Args:
        planned: What they say of it. It stays as it is, with the user's edits, where it is of the named encoder already.
        slice_step: Of plans that say nothing.
    """
    vision = None if planned is None else dict(planned)
    encoder = None if settings.vision_encoder is None else find_encoder(settings.vision_encoder)
    chosen = f"vision encoder {settings.vision_encoder} (as {VISION_ENCODER} or a recipe says)"
    if encoder is not None and (vision is None or vision.get("encoder", vision["model_name"]) != encoder.name):
        if class_name == PAPER_NETWORK_CLASS_NAME:
            raise UserError(f"{chosen}: the paper's network has DINOv2 ViT-B/14; unset it, or plan with nnUNetPlannerCDPD")
        others = [scheme for scheme in schemes if scheme != "CTNormalization"]
        if encoder.in_hu and others:
            raise UserError(
                f"{chosen}: it knows CT alone, its statistics are of HU, and the plans have {others[0]}; unset or change it"
            )
        # without the gate, fresh fusions put a norm in the way of the features, which costs more than tokens gain
        vision = vision or {"slice_axis": _SLICE_AXIS, "slice_step": slice_step, "gate": CLOSED}
        vision |= {"encoder": encoder.name, "model_kwargs": {}, **_facts_of(encoder, schemes, properties, settings)}
    elif encoder is not None and vision is not None and is_file(encoder):
        facts = _facts_of(encoder, schemes, properties, settings)
        if encoder.window_hu is None or vision.get("channels", GRAY) != GRAY:
            del facts["intensity_windows"]  # which the file does not say
        if differing := [key for key, value in facts.items() if vision.get(key) != value]:
            raise UserError(f"{chosen}: the plans say otherwise of {listed(differing)}; plan again with the file as it is now")
    if settings.vision:
        told = listed(sorted(settings.vision))
        if vision is None:
            raise UserError(
                f"plans: no vision tokens, of which the trainer has settings ({told}); name an encoder in {VISION_ENCODER}, or "
                "as `vision_encoder` in the trainer's recipe"
            )
        if class_name == PAPER_NETWORK_CLASS_NAME:
            raise UserError(f"plans: the paper's network has no settings of vision ({told})")
        vision |= settings.vision
        check_shape(vision, VISION, "plans", _CORRECT, "vision")
        if settings.vision.get("channels") == WINDOWS and "intensity_windows" not in settings.vision:
            vision["intensity_windows"] = _three_windows(schemes, properties, settings.ct_windows_hu)
    if vision is not None:
        check_vision(vision, "plans: `vision", _CORRECT)
    return vision


def _facts_of(
    encoder: VisionEncoder, schemes: Sequence[str], properties: Mapping[str, Mapping[str, float]], settings: NetworkSettings
) -> dict[str, Any]:
    """What an encoder says of itself in plans."""
    mean, std = encoder.statistics
    windows = intensity_windows(schemes, properties, encoder.window_hu or settings.ct_window_hu)
    return {"model_name": encoder.model_name, "mean": mean, "std": std, "intensity_windows": windows}


def intensity_windows(
    schemes: Sequence[str], properties: Mapping[str, Mapping[str, float]], ct_window_hu: tuple[float, float]
) -> list[list[float]]:
    """Per image channel, the (low, high) in normalised units that the vision encoder sees as 0 and 1."""
    windows = []
    for channel, scheme in enumerate(schemes):
        channel_properties = properties[str(channel)]
        if scheme == "CTNormalization":  # (HU - mean) / std
            windows.append(_normalised(ct_window_hu, channel_properties))
        elif scheme in ("RescaleTo01Normalization", "RGBTo01Normalization"):
            windows.append([0.0, 1.0])
        elif scheme == "NoNormalization":
            windows.append([channel_properties["percentile_00_5"], channel_properties["percentile_99_5"]])
        else:  # z-scores
            windows.append([-3.0, 3.0])
    return [[float(low), float(high)] for low, high in windows]


def _three_windows(
    schemes: Sequence[str], properties: Mapping[str, Mapping[str, float]], ct_windows_hu: Sequence[tuple[float, float]]
) -> list[list[float]]:
    if list(schemes) != ["CTNormalization"]:
        raise UserError(f"plans: three windows are for images of one channel, CT, and this one's are {listed(list(schemes))}")
    return [_normalised(window, properties["0"]) for window in ct_windows_hu]


def _normalised(window_hu: tuple[float, float], properties: Mapping[str, float]) -> list[float]:
    """A window in nnU-Net's units of CT, (HU - mean) / std."""
    return [float(bound - properties["mean"]) / max(properties["std"], 1e-8) for bound in window_hu]
