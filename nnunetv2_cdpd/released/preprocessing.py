"""The released preprocessing as entries of nnU-Net plans: RAS with x first, 1.5 mm, HU -175 ... 250 -> 0 ... 1, 96^3 windows.

nnU-Net's own functions do all of it. What they do otherwise than the release's (MONAI):
    grid       nnU-Net's 1.5 mm voxels share the outer borders of the image, the release's the middle of its first voxel: the same
               voxel lies up to 0.75 mm elsewhere, and half a voxel of the file more
    cropping   the release cuts off what is at or below -175 HU around the body, nnU-Net what is exactly 0 HU; so windows start
               elsewhere
    windows    where the last one would reach beyond the image, nnU-Net spreads all of them evenly, MONAI moves the last one

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet).
"""

from typing import Any

PLANS_NAME = "nnUNetCDPDPaperPlans"
SPACING_MM = 1.5
PATCH_SIZE = (96, 96, 96)
BATCH_SIZE = 2
HU_WINDOW = (-175.0, 250.0)
READER = "NibabelIOWithReorient"  # of nnU-Net, reads any NIfTI in RAS orientation as (z, y, x)
TRANSPOSE = (2, 1, 0)  # to (x, y, z), and back

_RESAMPLING = {"force_separate_z": False, "memefficient_seg_resampling": False}


def ct_intensity_properties() -> dict[str, float]:
    """foreground_intensity_properties with which nnU-Net's CTNormalization maps the HU window to 0 ... 1: (clip - mean) / std."""
    low, high = HU_WINDOW
    middle = (low + high) / 2
    bounds = {"min": low, "max": high, "percentile_00_5": low, "percentile_99_5": high}
    return {"mean": low, "std": high - low, "median": middle, **bounds}


def resampling_entries() -> dict[str, Any]:
    """Entries of a configuration: linear along every axis, however anisotropic an image is."""
    entries: dict[str, Any] = {}
    for what in ("data", "seg", "probabilities"):
        entries[f"resampling_fn_{what}"] = "resample_torch_fornnunet"
        entries[f"resampling_fn_{what}_kwargs"] = {"is_seg": what == "seg", **_RESAMPLING}
    return entries


def paper_plans(dataset_name: str, architecture: dict[str, Any]) -> dict[str, Any]:
    """nnU-Net plans of one configuration, 3d_fullres, for a network of CT images.

    Args:
        architecture: network_class_name, arch_kwargs and _kw_requires_import.
    """
    configuration = {
        "data_identifier": f"{PLANS_NAME}_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": BATCH_SIZE,
        "patch_size": list(PATCH_SIZE),
        "median_image_size_in_voxels": list(PATCH_SIZE),  # nnU-Net shows it only
        "spacing": [SPACING_MM] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **resampling_entries(),
        "architecture": architecture,
        "batch_dice": False,
    }
    return {
        "dataset_name": dataset_name,
        "plans_name": PLANS_NAME,
        "original_median_spacing_after_transp": [SPACING_MM] * 3,
        "original_median_shape_after_transp": list(PATCH_SIZE),
        "image_reader_writer": READER,
        "transpose_forward": list(TRANSPOSE),
        "transpose_backward": list(TRANSPOSE),
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "nnUNetPlannerCDPDPaper",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": ct_intensity_properties()},
    }
