"""CPUPlanning: plans for networks that predict a whole body within a minute on two cores, without a GPU.

What takes the time there, and what is done about it: voxels (3 mm), windows that overlap (a patch holds the body's whole
cross-section, so that only along the body there are several), and full resolution (16 features, one convolution in the
decoder, as everywhere in it). Trained as any other plans, on a GPU or with patience.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planning.architecture import NetworkSettings
from nnunetv2_cdpd.planning.planner import CDPDPlanning

_LEAST_MM = 3.0  # as TotalSegmentator's --fast
_LARGE = 90  # percentile of the images' sizes that a patch is to hold


class CPUPlanning(CDPDPlanning):
    """See the module. Spacings above 3 mm stay; another target spacing may be given as nnU-Net takes it.

    Raises:
        UserError: At 3 mm next to nothing is left of the images.
    """

    network_settings = NetworkSettings(max_fused_stages=1)
    default_plans_name = "nnUNetCDPDCPUPlans"
    default_gpu_memory_gb = 12.0  # with 8 GB and 104 classes, patches would be smaller, and windows four times as many
    finest_features = 16
    UNet_blocks_per_stage_decoder: tuple[int, ...]
    UNet_featuremap_min_edge_length: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UNet_featuremap_min_edge_length = 8  # one stage less than nnU-Net's 4 gives, so patches are padded to 16, not to 32
        self.UNet_blocks_per_stage_decoder = (1,) * len(self.UNet_blocks_per_stage_decoder)
        self.lowres_creation_threshold = 0  # coarse enough
        self.large_shape = self._large_shape()

    def determine_fullres_target_spacing(self) -> np.ndarray:
        spacing = super().determine_fullres_target_spacing()
        return spacing if self.overwrite_target_spacing is not None else np.maximum(spacing, _LEAST_MM)

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Never the default planner's folder, whose images have another spacing."""
        return f"{self.plans_identifier}_{configuration_name}"

    def get_plans_for_configuration(self, spacing: Sequence[float], median_shape: Any, *args: Any, **kwargs: Any) -> dict:
        """The host's plan for images of which a patch, where memory allows, holds the whole cross-section of most."""
        shape = self.large_shape[-len(spacing) :]
        plan = super().get_plans_for_configuration(spacing, shape, *args, **kwargs)
        return {**plan, "median_image_size_in_voxels": median_shape}

    def _large_shape(self) -> np.ndarray:
        """Of a large image at the target spacing, in the network's order of axes; no axis longer than the second longest."""
        spacing = self.determine_fullres_target_spacing()
        fingerprint = self.dataset_fingerprint
        pairs = zip(fingerprint["spacings"], fingerprint["shapes_after_crop"])
        shapes = np.array([compute_new_shape(shape, mm, spacing) for mm, shape in pairs])
        large = np.percentile(shapes, _LARGE, axis=0)[self.determine_transpose()[0]]
        second_longest = np.sort(large)[1]
        if second_longest < 2 * self.UNet_featuremap_min_edge_length:  # not halved even once
            raise UserError(
                f"{self.dataset_name}: its images have {' x '.join(f'{n:.0f}' for n in large)} voxels of "
                f"{' x '.join(f'{mm:.3g}' for mm in spacing)} mm, too few for a network; plan with nnUNetPlannerCDPD"
            )
        return np.minimum(large, second_longest)
