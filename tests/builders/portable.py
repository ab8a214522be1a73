"""Descriptions of exported models, and models whose vision tokens have an effect."""

import json
from pathlib import Path

import torch

from builders import model as tiny_model
from nnunetv2_cdpd.portable.description import CT, Description, Normalization
from nnunetv2_cdpd.portable.rivalry import Rivalry
from nnunetv2_cdpd.volumes.axes import ResamplingRule

RULE = ResamplingRule(3, 0, None, 3)
LINEAR_RULE = ResamplingRule(1, 0, None, 3)


def make_description(**changes) -> Description:
    """Of a model of one CT channel and three classes: a liver with a tumor in it, and a spleen."""
    numbers = {"mean": 10.0, "std": 60.0, "percentile_00_5": -100.0, "percentile_99_5": 250.0}
    entries = {
        "made_by": "nnunetv2-cdpd 0",
        "about": {"folds": ["0"]},
        "channels": ("CT",),
        "reorient": False,
        "transpose": (2, 0, 1),
        "spacing": (2.5, 1.4, 1.1),
        "normalizations": (Normalization(CT, False, numbers),),
        "image_rule": RULE,
        "patch_size": (8, 16, 24),
        "mirror_axes": (),
        "logits_rule": LINEAR_RULE,
        "classes": {"liver": 1, "liver_tumor": 2, "spleen": 6},
        "outputs": ("liver", "liver_tumor", "spleen"),
        "stored": (0, 1, 2, 6),
        "rivalry": Rivalry({None: (0, 2), 0: (1,)}),
    }
    return Description(**{**entries, **changes})


def write_variant(folder: Path, name: str) -> Path:
    """A model folder with random weights whose parts all have an effect, in one of `VARIANTS`."""
    changes = dict(VARIANTS[name])
    architecture = tiny_model.make_plans()["configurations"][tiny_model.CONFIGURATION]["architecture"]
    kwargs = architecture["arch_kwargs"]
    kwargs |= changes.pop("unet", {})
    kwargs = {key: value for key, value in kwargs.items() if value != "none"}
    architecture["arch_kwargs"] = kwargs
    kwargs["vision"] |= changes.pop("vision", {})
    channels = changes.get("channels", 1)
    kwargs["vision"]["intensity_windows"] = [[-2.0, 2.0]] * channels
    kwargs["patch_size"] = changes.get("patch_size", kwargs["patch_size"])
    if changes.get("universal") is False:
        kwargs["task"] = {"prompts": kwargs["task"]["prompts"][:-1], "universal": False}
    plans = changes.pop("plans", {})
    tiny_model.write_model(folder, architecture=architecture, **changes)
    if plans:
        (folder / "plans.json").write_text(json.dumps(json.loads((folder / "plans.json").read_text()) | plans))
    for file in folder.glob("fold_*/*.pth"):
        checkpoint = torch.load(file, weights_only=False)
        weights = checkpoint["network_weights"]
        generator = torch.Generator().manual_seed(len(str(file.parent)))
        for key, weight in weights.items():  # cross-attention adds nothing before it is trained
            if key.startswith("fusions.") and (".project." in key or ".mlp.2." in key):
                weights[key] = 0.3 * torch.randn(weight.shape, generator=generator)
        torch.save(checkpoint, file)
    return folder


_SLICES = {
    "conv_op": "torch.nn.Conv2d",
    "norm_op": "torch.nn.InstanceNorm2d",
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 2], [2, 2]],
}
VARIANTS = {
    "plain": {"mirroring": (0, 2), "plans": {"image_reader_writer": "NibabelIOWithReorient"}},
    "folds": {"folds": (0, 1), "spacing": [4.0, 1.0, 1.0], "vision": {"slice_step": 3}, "patch_size": [10, 16, 24]},
    "slices": {"unet": _SLICES, "patch_size": [16, 24], "spacing": [1.4, 1.1], "mirroring": (0, 1)},
    "residual, MR": {
        "unet": {
            "unet_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
            "n_blocks_per_stage": [1, 1, 1],
            "n_conv_per_stage": "none",
        },
        "channels": 2,
        "normalization_schemes": ["ZScoreNormalization"] * 2,
        "use_mask_for_norm": [True, False],
    },
    "tasks": {"universal": False, "vision": {"model_name": "vit_small_patch14_dinov2.lvd142m", "slice_axis": 2}},
}
