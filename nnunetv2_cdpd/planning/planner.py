"""CDPDPlanning: what CDPDNet adds to nnU-Net's planners; plans of their own names, memory budgeted for the added parts.

Preprocessed images are those of nnU-Net's default planner, so the data on disk is shared with it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.annotation import read_annotation, with_sigmoid_heads
from nnunetv2_cdpd.link import DEFAULT_PLANS
from nnunetv2_cdpd.network.cdpdnet import CDPDNet, default_slice_step
from nnunetv2_cdpd.network.memory import choose_fused_stages, choose_slice_step, feature_map_units
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture


class CDPDPlanning(ExperimentPlanner):
    """nnU-Net's planner with CDPDNet for its network; another planner of nnU-Net may stand behind it in a class's bases.

    The host estimates the plain U-Net that it has in mind, with one output per label; here the same U-Net is completed to
    CDPDNet with one output per class, and the planner chooses how much of it sees vision tokens, if there are any
    (network/memory.py).
    """

    network_settings = NetworkSettings()
    default_plans_name = DEFAULT_PLANS
    default_gpu_memory_gb = 8.0
    finest_features: int | None = None  # at most, at full resolution, where most of the work and memory is; None: the host's
    dataset_fingerprint: dict[str, Any]

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float | None = None,
        preprocessor_name: str = "DefaultPreprocessor",
        plans_name: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        memory = self.default_gpu_memory_gb if gpu_memory_target_in_gb is None else gpu_memory_target_in_gb
        plans_name = plans_name or self.default_plans_name
        super().__init__(dataset_name_or_id, memory, preprocessor_name, plans_name, *args, **kwargs)
        self.annotation = read_annotation(with_sigmoid_heads(self.dataset_json))

    def generate_data_identifier(self, configuration_name: str) -> str:
        """The default planner's folder where the data in it is the same, as nnU-Net's ResEnc planners do."""
        if configuration_name in ("2d", "3d_fullres") and self.overwrite_target_spacing is None:
            return f"nnUNetPlans_{configuration_name}"
        return f"{self.plans_identifier}_{configuration_name}"

    def determine_segmentation_softmax_export_fn(self, *args: Any, **kwargs: Any) -> tuple[Callable, dict[str, Any]]:
        """nnU-Net's torch function: the interpolation of logits of its default planner, several times faster."""
        _, default = super().determine_segmentation_softmax_export_fn(*args, **kwargs)
        return resample_torch_fornnunet, {"is_seg": False, "force_separate_z": default["force_separate_z"]}

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: Sequence[str],
    ) -> int:
        """Units of CDPDNet for one patch, and the frozen encoder's weights as its share of them."""
        architecture, network = self._complete(
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
        vision = architecture["arch_kwargs"]["vision"]
        if vision is None:
            return feature_map_units(network, patch_size, [], 1)
        units = feature_map_units(network, patch_size, architecture["arch_kwargs"]["fused_stages"], vision["slice_step"])
        return units + (0 if network.slice_encoder is None else self._units_of_weights(vision["model_name"], len(patch_size)))

    def _units_of_weights(self, model_name: str, dim: int) -> int:
        """A ViT's weights in single precision, in units of one sample of the host's reference batch."""
        units = self.UNet_reference_val_2d if dim == 2 else self.UNet_reference_val_3d
        return int(4 * number_of_weights(model_name) * units / (self.UNet_reference_val_corresp_GB * 1e9))

    def get_plans_for_configuration(self, *args: Any, **kwargs: Any) -> dict:
        plan = super().get_plans_for_configuration(*args, **kwargs)
        return {**plan, "architecture": self._complete(plan)[0]}

    def _architecture(self, configuration: dict) -> dict[str, Any]:
        """CDPDNet's, on a configuration's U-Net; the settings and the depth say which stages see vision tokens."""
        properties = self.dataset_fingerprint["foreground_intensity_properties_per_channel"]
        architecture = cdpd_architecture(configuration, self.annotation, properties, self.network_settings.with_chosen_encoder())
        if self.finest_features is not None:
            finest, *others = architecture["arch_kwargs"]["features_per_stage"]
            architecture["arch_kwargs"]["features_per_stage"] = [min(finest, self.finest_features), *others]
        return architecture

    def _complete(self, configuration: dict) -> tuple[dict[str, Any], CDPDNet]:
        """CDPDNet's architecture on a configuration's U-Net, and that network, without weights, before stages were chosen."""
        architecture = self._architecture(configuration)
        kwargs, patch_size = architecture["arch_kwargs"], configuration["patch_size"]
        network = self._without_weights(architecture, len(configuration["normalization_schemes"]))
        if kwargs["vision"] is not None and kwargs["fused_stages"]:
            kwargs["fused_stages"] = choose_fused_stages(network, patch_size, kwargs["fused_stages"])
        if kwargs["vision"] is not None and kwargs["fused_stages"]:
            step = default_slice_step(kwargs["strides"], kwargs["fused_stages"], kwargs["vision"]["slice_axis"])
            kwargs["vision"]["slice_step"] = choose_slice_step(network, patch_size, kwargs["fused_stages"], step)
        return architecture, network

    def _without_weights(self, architecture: dict[str, Any], input_channels: int) -> CDPDNet:
        kwargs = dict(architecture["arch_kwargs"])
        if kwargs["vision"] is not None:
            # The search for a patch size builds dozens of networks, and which blocks there are makes next to no difference here.
            model_kwargs = {**kwargs["vision"]["model_kwargs"], "depth": max(1, len(kwargs["fused_stages"]))}
            entries = {key: value for key, value in kwargs["vision"].items() if key != "blocks"}
            kwargs["vision"] = {**entries, "model_kwargs": model_kwargs}
        with torch.device("meta"):  # shapes only
            return get_network_from_plans(
                architecture["network_class_name"],
                kwargs,
                architecture["_kw_requires_import"],
                input_channels,
                len(self.annotation.classes),
                allow_init=False,
            )


@lru_cache(maxsize=4)
def number_of_weights(model_name: str) -> int:
    """Of a ViT of timm, without its classifier."""
    import timm

    with torch.device("meta"):
        vit = timm.create_model(model_name, pretrained=False, num_classes=0)
    return sum(parameter.numel() for parameter in vit.parameters())
