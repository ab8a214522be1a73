"""A small CDPDNet from plans, in five configurations."""

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.network import default_fused_stages, default_slice_step

TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 4, "num_heads": 2}}
K = 5
TASKS = ["one", "two", "all"]
PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
RESIDUAL = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
CONFIGURATIONS = {  # patch, strides, U-Net, input channels
    "3d": ((16, 24, 32), [[1, 1, 1], [2, 2, 2], [2, 2, 2], [1, 2, 2]], PLAIN, 1),
    "anisotropic": ((8, 32, 48), [[1, 1, 1], [1, 2, 2], [2, 2, 2]], PLAIN, 1),
    "residual": ((16, 24, 32), [[1, 1, 1], [2, 2, 2], [2, 2, 2]], RESIDUAL, 2),
    "2d": ((24, 40), [[1, 1], [2, 2], [2, 2]], PLAIN, 3),
    "eight stages": ((16, 16, 128), [[1, 1, 1], [2, 2, 2], [2, 2, 2]] + [[1, 1, 2]] * 5, PLAIN, 1),
}


def make_network(configuration="3d", *, num_classes=K, seed=0, **changes):
    """A network from plans, by nnU-Net's own function."""
    patch, strides, unet, channels = CONFIGURATIONS[configuration]
    dim, stages = len(patch), len(strides)
    fused = default_fused_stages(strides)
    blocks = "n_conv_per_stage" if unet == PLAIN else "n_blocks_per_stage"
    kwargs = {
        "n_stages": stages,
        "features_per_stage": [8, 12, 16, 20, 20, 20, 20, 20][:stages],
        "conv_op": f"torch.nn.Conv{dim}d",
        "kernel_sizes": [[3] * dim] * stages,
        "strides": strides,
        blocks: [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.InstanceNorm{dim}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        "unet_class_name": unet,
        "patch_size": list(patch),
        "fused_stages": fused,
        "vision": {
            **TINY_VIT,
            "slice_axis": 0,
            "slice_step": default_slice_step(strides, fused, 0),
            "intensity_windows": [[-1.0, 1.0]] * channels,
        },
        "text": {"encoder": "ViT-B-32/openai", "embed_dim": 16, "class_prompts": ["c"] * num_classes, "modulate": True},
        "task": {"prompts": TASKS, "universal": True},
        **changes,
    }
    torch.manual_seed(seed)
    return get_network_from_plans(
        "nnunetv2_cdpd.network.CDPDNet",
        kwargs,
        ("conv_op", "norm_op", "dropout_op", "nonlin"),
        channels,
        num_classes,
        deep_supervision=False,
    )


def patch_for(configuration="3d", batch=2, seed=1):
    patch, _, _, channels = CONFIGURATIONS[configuration]
    return torch.randn(batch, channels, *patch, generator=torch.Generator().manual_seed(seed))
