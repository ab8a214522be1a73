"""Arguments with which PaperCDPDNet is the released network: 96^3 patches of 1.5 mm, 32 classes, 11 tasks."""

from typing import Any

from nnunetv2_cdpd.pretrained.encoders import DINOV2
from nnunetv2_cdpd.released.preprocessing import PATCH_SIZE
from nnunetv2_cdpd.released.prompts import PAPER_CLASS_PROMPTS, PAPER_TASK_PROMPTS
from nnunetv2_cdpd.released.sources import ANNOTATED_BY_TASK

PAPER_NETWORK_CLASS_NAME = "nnunetv2_cdpd.network.PaperCDPDNet"
PAPER_VISION_MODEL = DINOV2["dinov2"]
KW_REQUIRES_IMPORT = ("conv_op", "norm_op", "dropout_op", "nonlin")  # what nnU-Net resolves from a dotted name
_FEATURES = (32, 64, 128, 256, 320, 320)


def paper_arch_kwargs() -> dict[str, Any]:
    """arch_kwargs of the released network for plans, JSON-able."""
    stages = len(_FEATURES)
    channels_of_tasks = [[number - 1 for number in numbers] for numbers in ANNOTATED_BY_TASK.values()]
    return {
        "unet_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "n_stages": stages,
        "features_per_stage": list(_FEATURES),
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": [[1, 3, 3], *[[3, 3, 3] for _ in range(stages - 1)]],
        "strides": [[1, 1, 1], [1, 2, 2], *[[2, 2, 2] for _ in range(stages - 2)]],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        "patch_size": list(PATCH_SIZE),
        "fused_stages": [2, 3, 4],
        "vision": {
            "model_name": PAPER_VISION_MODEL,
            "model_kwargs": {},
            "slice_axis": 0,
            "slice_step": 1,
            "intensity_windows": [[0.0, 1.0]],  # to which the preprocessing maps HU -175 and 250
        },
        "text": {"encoder": "ViT-B-32/openai", "embed_dim": 512, "class_prompts": list(PAPER_CLASS_PROMPTS), "modulate": True},
        "task": {"prompts": list(PAPER_TASK_PROMPTS), "universal": False, "annotated_classes": channels_of_tasks},
    }
