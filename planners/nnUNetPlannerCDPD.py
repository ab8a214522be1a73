"""nnUNetPlannerCDPD: nnU-Net's planner for CDPDNet; plans of its own name, memory budgeted for the added parts.

Preprocessed images are those of nnU-Net's default planner, so the data on disk is shared with it.
"""

from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.annotation import read_annotation, with_sigmoid_heads
from nnunetv2_cdpd.architecture import NetworkSettings, cdpd_architecture


class nnUNetPlannerCDPD(ExperimentPlanner):
    """Plans for nnUNetTrainerCDPD on a GPU of 8 GB by default (nnU-Net's -gpu_memory_target changes it)."""

    network_settings = NetworkSettings()
    default_plans_name = "nnUNetCDPDPlans"

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = "DefaultPreprocessor",
        plans_name: str | None = None,
        overwrite_target_spacing: Sequence[float] | None = None,
        suppress_transpose: bool = False,
    ) -> None:
        super().__init__(
            dataset_name_or_id,
            gpu_memory_target_in_gb,
            preprocessor_name,
            plans_name or self.default_plans_name,
            overwrite_target_spacing,
            suppress_transpose,
        )
        self.annotation = read_annotation(with_sigmoid_heads(self.dataset_json))

    def generate_data_identifier(self, configuration_name: str) -> str:
        """The default planner's folder where the data in it is the same, as nnU-Net's ResEnc planners do."""
        if configuration_name in ("2d", "3d_fullres") and self.overwrite_target_spacing is None:
            return f"nnUNetPlans_{configuration_name}"
        return super().generate_data_identifier(configuration_name)

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: Sequence[str],
    ) -> np.int64:
        """Values held by CDPDNet's feature maps for one patch, in nnU-Net's unit (see compute_conv_feature_map_size).

        The host estimates the plain U-Net that it has in mind, with one output per label; here the same U-Net is
        completed to CDPDNet with one output per class.
        """
        architecture = self._complete(
            {
                "patch_size": patch_size,
                "architecture": {
                    "network_class_name": arch_class_name,
                    "arch_kwargs": arch_kwargs,
                    "_kw_requires_import": arch_kwargs_req_import,
                },
                "normalization_schemes": self.determine_normalization_scheme_and_whether_mask_is_used_for_norm()[0],
            }
        )
        kwargs = dict(architecture["arch_kwargs"])
        if kwargs["vision"] is not None:
            # The search for a patch size builds dozens of networks, and the frozen ViT holds nothing for the backward pass.
            model_kwargs = {**kwargs["vision"]["model_kwargs"], "depth": len(kwargs["fused_stages"])}
            kwargs["vision"] = {**kwargs["vision"], "model_kwargs": model_kwargs}
        with torch.device("meta"):  # shapes only
            network = get_network_from_plans(
                architecture["network_class_name"],
                kwargs,
                architecture["_kw_requires_import"],
                input_channels,
                len(self.annotation.classes),
                allow_init=False,
            )
        return network.compute_conv_feature_map_size(patch_size)

    def get_plans_for_configuration(self, *args: Any, **kwargs: Any) -> dict:
        plan = super().get_plans_for_configuration(*args, **kwargs)
        return {**plan, "architecture": self._complete(plan)}

    def _complete(self, configuration: dict) -> dict[str, Any]:
        return cdpd_architecture(
            configuration,
            self.annotation,
            self.dataset_fingerprint["foreground_intensity_properties_per_channel"],
            self.network_settings,
        )


class nnUNetPlannerCDPDSmall(nnUNetPlannerCDPD):
    """Plans for a network that learns within minutes on a laptop without GPU: demo, tests, checking a pipeline.

    Patches of at most 32 voxels per axis, batches of 4, at most 96 features, the smallest pretrained DINOv2, fused once.
    """

    network_settings = replace(NetworkSettings(), vision_model="vit_small_patch14_dinov2.lvd142m", max_fused_stages=1)
    default_plans_name = "nnUNetCDPDSmallPlans"
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
