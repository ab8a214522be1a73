"""nnUNetPlannerCDPD: nnU-Net's planner for CDPDNet; plans of its own name, memory budgeted for the added parts.

Preprocessed images are those of nnU-Net's default planner, so the data on disk is shared with it.
"""

from dataclasses import replace

from ..planning.architecture import NetworkSettings
from ..planning.planner import CDPDNetPlanner
from ..planning.small import SmallPlanner


class nnUNetPlannerCDPD(CDPDNetPlanner):
    """Plans for nnUNetTrainerCDPD on a GPU of 8 GB by default (nnU-Net's -gpu_memory_target changes it)."""

    default_plans_name = "nnUNetCDPDPlans"


class nnUNetPlannerCDPDSmall(SmallPlanner):
    """Plans for a network that learns within minutes on a laptop without GPU: demo, tests, checking a pipeline.

    Patches of at most 32 voxels per axis, batches of 4, at most 96 features, the smallest pretrained DINOv2, fused once.
    """

    network_settings = replace(NetworkSettings(), vision_model="vit_small_patch14_dinov2.lvd142m", max_fused_stages=1)
    default_plans_name = "nnUNetCDPDSmallPlans"
