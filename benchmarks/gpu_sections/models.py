"""Models: plans as nnU-Net makes them for a patch of 128^3, networks with random weights, model folders."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import model as tiny_model
from loader import make_annotation
from network import BLOCKS_RESENC
from torch import Tensor

from gpu_sections.bench import Bench, Sizes
from gpu_sections.body import body
from nnunetv2_cdpd.planning.architecture import NetworkSettings, plans_with_cdpd
from nnunetv2_cdpd.pretrained.choices import LEARNED

CONFIGURATION = tiny_model.CONFIGURATION
PLAIN, RESENC = "PlainConvUNet", "ResidualEncoderUNet"
_LABELLED = 0.5  # share of the voxels at most that a random network labels
_SPREAD = 3.0  # of its logits, as of a trained one


def unet_architecture(name: str, features: tuple[int, ...]) -> dict[str, Any]:
    """nnU-Net's entry of PlainConvUNet, or of the ResEnc presets' network (M), with so many features per stage."""
    stages = len(features)
    kwargs: dict[str, Any] = {
        "n_stages": stages, "features_per_stage": list(features), "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1), "conv_bias": True, "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    if name == PLAIN:
        kwargs |= {"n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1)}
    else:
        kwargs |= {"n_blocks_per_stage": BLOCKS_RESENC[:stages], "n_conv_per_stage_decoder": [1] * (stages - 1)}
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}", "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip


def make_plans(sizes: Sizes, classes: int, unet: str = PLAIN, mm: float | None = None) -> dict[str, Any]:
    """Plans of a U-Net; mm: spacing of the network, None: that of the image itself."""
    spacing = list(sizes.spacing_mm) if mm is None else [mm] * 3
    plans = tiny_model.make_plans(
        make_annotation(classes), batch_size=sizes.batch, patch_size=[sizes.patch] * 3, spacing=spacing,
        architecture=unet_architecture(unet, sizes.features),
    )  # fmt: skip
    order = {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2]}
    return plans | order | {"original_median_spacing_after_transp": spacing}


@dataclass(frozen=True)
class ModelFolder:
    """A trained model's folder but for the training.

    folder: nnU-Net's, of one fold.
    windows: Of a normalised volume, (B, 1, x, y, z) on the CPU.
    """

    folder: Path
    windows: Tensor


def model_folder(bench: Bench, classes: int, mm: float | None) -> ModelFolder:
    """Write a CDPDNet with random weights, whose classes are each somewhere, as a trained network's.

    Seconds of an export depend on how many classes can be above 0.5 at the same place, so the heads are set from the logits of a
    window: each class has about an equal share of half of its voxels.
    """
    sizes = bench.sizes
    folder = bench.work / f"model_{classes}_{mm}"
    annotation, dataset_json = make_annotation(classes), tiny_model.make_dataset_json(make_annotation(classes))
    settings = NetworkSettings(vision_encoder=sizes.vision, text_encoder=LEARNED)
    plans = plans_with_cdpd(make_plans(sizes, classes, mm=mm), CONFIGURATION, annotation, settings)
    windows = normalised(body((sizes.patch, sizes.patch, 2 * sizes.patch)), plans).reshape(
        sizes.patch, sizes.patch, 2, sizes.patch
    )
    windows = windows.permute(2, 0, 1, 3)[:, None].contiguous()
    if not folder.exists():
        network = tiny_model.make_network(plans, dataset_json).to(bench.device)
        _spread_classes(network, windows.to(bench.device), classes)
        (folder / "fold_0").mkdir(parents=True)
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(dataset_json))
        checkpoint = {
            "network_weights": {key: value.cpu() for key, value in network.state_dict().items()},
            "trainer_name": tiny_model.TRAINER,
            "init_args": {"plans": plans, "configuration": CONFIGURATION, "fold": 0, "dataset_json": dataset_json},
            "inference_allowed_mirroring_axes": None,
        }
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return ModelFolder(folder, windows)


@torch.inference_mode()
def _spread_classes(network: Any, windows: Tensor, classes: int) -> None:
    logits = network(windows[:1])[0].flatten(1).float()
    head, scale = network.decoder.seg_layers[-1], _SPREAD / float(logits.std())
    rank = max(1, int(logits.shape[1] * (1 - _LABELLED / classes)))
    highest = torch.stack([channel.kthvalue(rank).values for channel in logits])  # torch.quantile takes fewer numbers
    head.weight *= scale
    head.bias.copy_(scale * (head.bias - highest))


def normalised(image: np.ndarray, plans: dict[str, Any]) -> Tensor:
    """As nnU-Net's CTNormalization."""
    facts = plans["foreground_intensity_properties_per_channel"]["0"]
    clipped = torch.from_numpy(image).float().clamp(facts["percentile_00_5"], facts["percentile_99_5"])
    return (clipped - facts["mean"]) / facts["std"]
