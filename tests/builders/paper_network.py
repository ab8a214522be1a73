"""The released network's preset through plans, narrow and small."""

import json

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.released.preset import (
    KW_REQUIRES_IMPORT,
    PAPER_NETWORK_CLASS_NAME,
    paper_arch_kwargs,
)

TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 4, "num_heads": 2}}
NUM_CLASSES, NUM_TASKS = 32, 11
PATCH = (28, 32, 64)


def make_network(**changes):
    """The preset through plans, narrow, and with less pooling of the first axis so that 28 slices do."""
    kwargs = json.loads(json.dumps(paper_arch_kwargs()))
    kwargs["features_per_stage"] = [4, 4, 8, 8, 12, 12]
    kwargs["strides"] = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]]
    kwargs["vision"] = {**kwargs["vision"], **TINY_VIT}
    kwargs["patch_size"] = list(PATCH)
    torch.manual_seed(0)
    return get_network_from_plans(
        PAPER_NETWORK_CLASS_NAME, {**kwargs, **changes}, KW_REQUIRES_IMPORT, 1, NUM_CLASSES, deep_supervision=False
    )
