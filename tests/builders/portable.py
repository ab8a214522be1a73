"""Descriptions of exported models, and models whose vision tokens have an effect."""

import torch

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


def give_tokens_effect(network: torch.nn.Module) -> torch.nn.Module:
    """Cross-attention as after training: it starts as one that adds nothing."""
    generator = torch.Generator().manual_seed(3)
    for fusion in network.fusions.values():
        for block in fusion.blocks:
            for layer in (block.project, block.mlp[-1]):
                for parameter in layer.parameters():
                    torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network
