"""SmallPlanning: plans for networks that learn within minutes on a laptop without GPU; DemoPlanning: for the demo."""

from typing import Any

import numpy as np

from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.planning.architecture import NetworkSettings
from nnunetv2_cdpd.planning.planner import CDPDPlanning


class SmallPlanning(CDPDPlanning):
    """Plans for a network that learns within minutes on a laptop without GPU: demo, tests, checking a pipeline.

    Patches of at most 32 voxels per axis, batches of 4, at most 96 features; vision tokens, if any, fused once.
    """

    network_settings = NetworkSettings(max_fused_stages=1)
    default_plans_name = "nnUNetCDPDSmallPlans"
    UNet_blocks_per_stage_decoder: tuple[int, ...]
    max_patch_size = 32
    batch_size = 4

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UNet_base_num_features = 16
        self.UNet_max_features_2d = self.UNet_max_features_3d = 96
        self.UNet_blocks_per_stage_decoder = (1,) * len(self.UNet_blocks_per_stage_decoder)  # a third of the time
        self.lowres_creation_threshold = 0  # patches cover little of the image on purpose; no low-resolution cascade

    def get_plans_for_configuration(self, spacing: Any, median_shape: Any, *args: Any, **kwargs: Any) -> dict:
        small = np.minimum(median_shape, self.max_patch_size)
        plan = super().get_plans_for_configuration(spacing, small, *args, **kwargs)
        return {**plan, "median_image_size_in_voxels": median_shape, "batch_size": self.batch_size}


class DemoPlanning(SmallPlanning):
    """Plans for the network of `cdpd demo`, a fifth of SmallPlanning's work per training step: too small for real data.

    Patches of at most 24 voxels per axis, batches of 2, since many small steps learn more in the same time; at full
    resolution, where most of the work is, half the features and one convolution in place of two; half as many slices for
    the vision encoder, if any.
    """

    default_plans_name = "nnUNetCDPDDemoPlans"
    UNet_blocks_per_stage_encoder: tuple[int, ...]
    max_patch_size = 24
    batch_size = 2
    finest_features = 8

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UNet_featuremap_min_edge_length = 3  # so that 24 voxels are halved three times
        self.UNet_blocks_per_stage_encoder = (1, *self.UNet_blocks_per_stage_encoder[1:])

    def _complete(self, configuration: dict) -> tuple[dict[str, Any], CDPDNet]:
        architecture, network = super()._complete(configuration)
        if architecture["arch_kwargs"]["vision"] is not None:
            architecture["arch_kwargs"]["vision"]["slice_step"] *= 2
        return architecture, network
