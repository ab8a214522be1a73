"""import_official: the released checkpoint and DINOv2 -> an nnU-Net model folder that nnU-Net's own commands predict with."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import Tensor, nn

from nnunetv2_cdpd.annotation import dataset_json_entries
from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.host import DATASET_FILE, PLANS_FILE
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretrained.hub import hub_reachable
from nnunetv2_cdpd.pretrained.vision import load_vision_weights, locate_vision_weights
from nnunetv2_cdpd.released.checkpoint import read_released
from nnunetv2_cdpd.released.preprocessing import paper_plans
from nnunetv2_cdpd.released.preset import KW_REQUIRES_IMPORT, PAPER_NETWORK_CLASS_NAME, PAPER_VISION_MODEL, paper_arch_kwargs
from nnunetv2_cdpd.released.sources import ANNOTATED_BY_TASK, RELEASED_CLASSES, released_annotation
from nnunetv2_cdpd.released.state_dict import convert_released

TRAINER = "nnUNetTrainerCDPD"
CONFIGURATION = "3d_fullres"
FOLD = "fold_all"
CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class ImportedModel:
    """What became of a released checkpoint.

    vision_weights: Where DINOv2 came from.
    dropped: Reason for each released tensor that has no place in the model.
    """

    folder: Path
    vision_weights: str
    dropped: Mapping[str, str]


def import_official(
    checkpoint: Path,
    folder: Path,
    *,
    dinov2: str | Path | None = None,
    vision_kwargs: Mapping[str, Any] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> ImportedModel:
    """Write a model folder: plans.json, dataset.json, fold_all/checkpoint_final.pth.

    The widths of the network are the checkpoint's; its classes and tasks must be the released ones.

    Args:
        checkpoint: The released file.
        folder: Must not exist yet; written beside and renamed.
        dinov2: A file of the weights of the ViT that the network was trained with, or timm's name of a ViT, whose weights are
            looked for in timm's cache, then downloaded; None: by the name of the released one.
        vision_kwargs: Further arguments of timm's create_model.
        finish: Writes further files into the folder before it gets its name.

    Raises:
        UserError: The folder exists, a file is none of what it should be, or weights are not to be had.
    """
    vision_model, vision_weights = vision_choice(dinov2)
    checkpoint, folder = Path(checkpoint), Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: already there; delete it or give another folder")
    released = read_released(checkpoint)
    try:
        converted = convert_released(released)
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from error
    arch_kwargs = _arch_kwargs(converted.state_dict, checkpoint, vision_model, dict(vision_kwargs or {}))
    network = _network(arch_kwargs, vision_model)
    assert isinstance(network, CDPDNet) and network.slice_encoder is not None, "the preset has a vision encoder"
    _check_vision_width(network.slice_encoder, next(iter(network.adaptors)), converted.state_dict, vision_model)
    origin = _load_vision(network.slice_encoder, vision_model, vision_weights)
    _load(network, converted.state_dict, checkpoint)

    architecture = {
        "network_class_name": PAPER_NETWORK_CLASS_NAME,
        "arch_kwargs": arch_kwargs,
        "_kw_requires_import": list(KW_REQUIRES_IMPORT),
    }
    _write(folder, paper_plans(_dataset_name(folder), architecture), _dataset_json(), network, finish)
    return ImportedModel(folder, origin, converted.dropped)


def vision_choice(dinov2: str | Path | None) -> tuple[str, Path | None]:
    """timm's name of a ViT, and the file of its weights; None: to be looked for.

    Args:
        dinov2: A file is one of the released model's; None: by the name of the released model.

    Raises:
        UserError: Neither a file nor a ViT that timm knows.
    """
    import timm

    if dinov2 is None:
        return PAPER_VISION_MODEL, None
    path = Path(dinov2).expanduser()
    if path.is_file():
        return PAPER_VISION_MODEL, path
    name = str(dinov2)
    with suppress(RuntimeError):  # of pretrained weights that timm's model has not
        if timm.is_model(name.split(".")[0]) and timm.get_pretrained_cfg(name) is not None:
            return name, None
    raise UserError(
        f"argument dinov2 {dinov2}: no such file, and no model of timm; the released network needs {PAPER_VISION_MODEL}"
    )


def _arch_kwargs(weights: Mapping[str, Tensor], checkpoint: Path, vision_model: str, vision_kwargs: dict) -> dict[str, Any]:
    """The paper's, with the widths of these weights."""
    found = len(weights["class_text.embeddings"]), len(weights["task_text.embeddings"])
    if found != (len(RELEASED_CLASSES), len(ANNOTATED_BY_TASK)):
        raise UserError(
            f"{checkpoint}: a network of {found[0]} classes and {found[1]} tasks, whose names are not known; the released one "
            f"has {len(RELEASED_CLASSES)} and {len(ANNOTATED_BY_TASK)}"
        )
    kwargs = paper_arch_kwargs()
    stages = range(kwargs["n_stages"])
    kwargs["features_per_stage"] = [len(weights[f"encoder.stages.{stage}.0.convs.0.conv.bias"]) for stage in stages]
    kwargs["text"]["embed_dim"] = weights["class_text.embeddings"].shape[1]
    kwargs["vision"] |= {"model_name": vision_model, "model_kwargs": vision_kwargs}
    return kwargs


def _network(arch_kwargs: Mapping[str, Any], vision_model: str) -> nn.Module:
    try:
        return get_network_from_plans(
            PAPER_NETWORK_CLASS_NAME, deepcopy(arch_kwargs), KW_REQUIRES_IMPORT, 1, len(RELEASED_CLASSES), deep_supervision=False
        )
    except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as error:  # timm's models take other arguments
        raise UserError(
            f"argument dinov2 {vision_model}: no ViT of patch tokens that the released network can use ({reason(error)}); it was "
            f"trained with {PAPER_VISION_MODEL}"
        ) from error


def _check_vision_width(encoder: SliceEncoder, fused_stage: str, weights: Mapping[str, Tensor], vision_model: str) -> None:
    trained_with = weights[f"adaptors.{fused_stage}.context.0.weight"].shape[1]
    width = encoder.embed_dim
    if trained_with != width:
        raise UserError(
            f"{vision_model}: its tokens are {width} wide, and the released network was trained with tokens {trained_with} wide "
            f"(those of {PAPER_VISION_MODEL} are 768)"
        )


def _load_vision(encoder: SliceEncoder, vision_model: str, vision_weights: Path | None) -> str:
    if vision_weights is None and locate_vision_weights(vision_model) is None and not hub_reachable():
        raise UserError(
            f"no weights of {vision_model} in the cache, and the model hub cannot be reached; give a file of them as argument "
            "dinov2 (.safetensors or .pth, of timm, of Meta's release or of Hugging Face transformers)"
        )
    return load_vision_weights(encoder, None if vision_weights is None else str(vision_weights))


def _load(network: nn.Module, weights: Mapping[str, Tensor], checkpoint: Path) -> None:
    """Fill all but the slice encoder, whose weights are there already."""
    expected = network.state_dict()
    weights = {**weights, **{key: value for key, value in expected.items() if key.startswith("slice_encoder.")}}
    wrong = [key for key in expected if key not in weights or weights[key].shape != expected[key].shape]
    wrong += [key for key in weights if key not in expected]
    if wrong:
        first = wrong[0]
        shapes = [tuple(part[first].shape) if first in part else "missing" for part in (weights, expected)]
        raise UserError(
            f"{checkpoint}: {len(wrong)} weights do not fit the released network (first: {first}, {shapes[0]} in the file, "
            f"{shapes[1]} in the network)"
        )
    network.load_state_dict(weights)


def _dataset_name(folder: Path) -> str:
    """nnU-Net's name of the dataset where the folder lies in one (nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION)."""
    parent = folder.resolve().parent.name
    return parent if parent.startswith("Dataset") else "CDPDNet"


def _dataset_json() -> dict[str, Any]:
    return {
        "name": "CDPDNet",
        "description": "Classes and tasks of the released CDPDNet; there are no cases",
        "reference": "Wu, Xing, Yu, Shao, Gong: CDPDNet, arXiv 2505.18958",
        "channel_names": {"0": "CT"},
        "numTraining": 0,
        "file_ending": ".nii.gz",
        **dataset_json_entries(released_annotation()),
    }


def _write(folder: Path, plans: dict, dataset_json: dict, network: nn.Module, finish: Callable[[Path], None] | None) -> None:
    checkpoint = {  # what nnU-Net's predictor reads of a checkpoint
        "network_weights": network.state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,  # as released, and the classes have sides
    }
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with written_beside(folder) as beside:
            (beside / FOLD).mkdir(parents=True)
            (beside / PLANS_FILE).write_text(json.dumps(plans, indent=4))
            (beside / DATASET_FILE).write_text(json.dumps(dataset_json, indent=4))
            torch.save(checkpoint, beside / FOLD / CHECKPOINT)
            if finish is not None:
                finish(beside)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
        told = getattr(error, "strerror", None) or "is the disk full?"
        raise UserError(f"{folder}: cannot be written ({told}); make room there, or give another folder") from error
