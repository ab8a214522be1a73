"""PaperPlanning: the paper's preprocessing, patch and network for any CT dataset, for nnUNetTrainerCDPDPaper.

Fixed: RAS orientation with x first, 1.5 mm, HU -175 ... 250 -> 0 ... 1, 96^3 patches, two per batch, the released network.
From the dataset: classes, sources and their prompts, in our wording. Otherwise than the release, a universal task is trained
beside the sources' tasks, so that nnU-Net's validation and prediction need no task.

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planning.planner import CDPDPlanning
from nnunetv2_cdpd.released.preprocessing import (
    BATCH_SIZE,
    PATCH_SIZE,
    PLANS_NAME,
    SPACING_MM,
    TRANSPOSE,
    ct_intensity_properties,
    resampling_entries,
)
from nnunetv2_cdpd.released.preset import KW_REQUIRES_IMPORT, PAPER_NETWORK_CLASS_NAME, paper_arch_kwargs


class PaperPlanning(CDPDPlanning):
    """See the module. One configuration, 3d_fullres; the memory target changes nothing."""

    default_plans_name = PLANS_NAME

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lowres_creation_threshold = 0  # no cascade
        channels = channel_names(self.dataset_json, f"{self.dataset_name}/{FILE_NAME}")
        if [name.casefold() for name in channels] != ["ct"]:
            raise UserError(
                f"{self.dataset_name}: the paper's network is for images of one channel, CT, and this dataset has "
                f"{', '.join(channels)}; plan with nnUNetPlannerCDPD"
            )
        if self.dataset_json["file_ending"] not in NibabelIOWithReorient.supported_file_endings:
            raise UserError(
                f"{self.dataset_name}: nnU-Net reads {' and '.join(NibabelIOWithReorient.supported_file_endings)} in RAS "
                f"orientation, which the paper's network needs, and not {self.dataset_json['file_ending']}; convert the "
                "images, or plan with nnUNetPlannerCDPD"
            )
        # of all that planning reads of the fingerprint, only these numbers get into preprocessing
        self.dataset_fingerprint = {
            **self.dataset_fingerprint,
            "foreground_intensity_properties_per_channel": {"0": ct_intensity_properties()},
        }

    def generate_data_identifier(self, configuration_name: str) -> str:
        return f"{self.plans_identifier}_{configuration_name}"

    def determine_reader_writer(self) -> type[NibabelIOWithReorient]:
        return NibabelIOWithReorient

    def determine_fullres_target_spacing(self) -> np.ndarray:
        return np.array([SPACING_MM] * 3)

    def determine_transpose(self) -> tuple[list[int], list[int]]:
        return list(TRANSPOSE), list(TRANSPOSE)

    def determine_resampling(self, *args: Any, **kwargs: Any) -> tuple[Callable, dict, Callable, dict]:
        entries = resampling_entries()
        data, seg = (entries[f"resampling_fn_{what}_kwargs"] for what in ("data", "seg"))
        return resample_torch_fornnunet, data, resample_torch_fornnunet, seg

    def determine_segmentation_softmax_export_fn(self, *args: Any, **kwargs: Any) -> tuple[Callable, dict[str, Any]]:
        return resample_torch_fornnunet, resampling_entries()["resampling_fn_probabilities_kwargs"]

    def get_plans_for_configuration(
        self, spacing: Any, median_shape: Any, data_identifier: str, *args: Any, **kwargs: Any
    ) -> dict:
        """The host's plan of a small patch, which is found at once, with the paper's patch and network."""
        small = np.minimum(median_shape, 32)
        plan = super().get_plans_for_configuration(spacing, small, data_identifier, *args, **kwargs)
        plan = {**plan, "median_image_size_in_voxels": median_shape}
        if len(spacing) == 2:
            return plan
        architecture = {
            "network_class_name": PAPER_NETWORK_CLASS_NAME,
            "arch_kwargs": paper_arch_kwargs(),
            "_kw_requires_import": KW_REQUIRES_IMPORT,
        }
        plan |= {"patch_size": list(PATCH_SIZE), "batch_size": BATCH_SIZE, "architecture": architecture}
        return {**plan, "architecture": self._architecture(plan)}

    def save_plans(self, plans: dict) -> None:
        """Without the 2D configuration, which the paper does not have; the host saves it always."""
        del plans["configurations"]["2d"]
        super().save_plans(plans)
