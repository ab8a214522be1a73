"""Facts that the releases of AbdomenAtlas share, and how they are told apart.

Layout and values are those of nnU-Net's own converters, Dataset224_AbdomenAtlas1.0.py and Dataset023_AbdomenAtlas1_1Mini.py.
"""

from typing import Any

from ..conversion.declaration import CC_BY_NC_SA_4, FoundCase
from ..conversion.download import Download
from ..conversion.layout import pair_files

NINE = "aorta gall_bladder kidney_left kidney_right liver pancreas postcava spleen stomach".split()
SIXTEEN_MORE = (
    "adrenal_gland_left adrenal_gland_right bladder celiac_trunk colon duodenum esophagus femur_left femur_right hepatic_vessel "
    "intestine lung_left lung_right portal_vein_and_splenic_vein prostate rectum"
).split()
_OUR_NAMES = {
    "gall_bladder": "gallbladder",
    "kidney_left": "left_kidney",
    "kidney_right": "right_kidney",
    "adrenal_gland_left": "left_adrenal_gland",
    "adrenal_gland_right": "right_adrenal_gland",
    "femur_left": "left_femur",
    "femur_right": "right_femur",
    "lung_left": "left_lung",
    "lung_right": "right_lung",
}
ATLAS_NAMES = {"1.0": "AbdomenAtlas1_0Mini", "1.1": "AbdomenAtlas1_1Mini"}
_REFERENCE = "Li et al., AbdomenAtlas, Medical Image Analysis 2024, doi:10.1016/j.media.2024.103285"


def values_of(names: list[str]) -> dict[int | str, str]:
    """By value of combined_labels and by name of mask file."""
    ours = [_OUR_NAMES.get(name, name) for name in names]
    return {**dict(enumerate(ours, start=1)), **dict(zip(names, ours))}


def find(download: Download) -> list[FoundCase]:
    there = {said["structure"] for said, _ in download.matches(download.dataset.mask_files[0])}
    is_later = not there.isdisjoint(SIXTEEN_MORE)
    if there and is_later != (download.dataset.name == ATLAS_NAMES["1.1"]):
        other = ATLAS_NAMES["1.1" if is_later else "1.0"]
        raise download.error(f"its masks are those of another release; `cdpd convert {other}` converts it")
    return pair_files(download)


ATLAS: dict[str, Any] = {
    "region": "abdomen",
    "license": CC_BY_NC_SA_4,
    "reference": _REFERENCE,
    "images": ("BDMAP_{case}/ct.nii.gz",),
    "labels": ("BDMAP_{case}/combined_labels.nii.gz",),
    "mask_files": ("BDMAP_{case}/segmentations/{structure}.nii.gz",),
    "case": r"\d{8}",
    "imageless_labels": True,
    "find": find,
}
ATLAS_FROM = (
    "AbdomenCT1K (1000)",
    "FLARE23 (2200)",
    "MSD tasks (945)",
    "KITS (300)",
    "AMOS22 (200)",
    "CTORG (140)",
    "LiTS (131)",
    "WORD (120)",
    "AbdomenCT12organ (50)",
    "BTCV_MultiOrgan (47)",
    "PancreasCT (42)",
    "CHAOS (20)",
)
ATLAS_UNCHECKED = ("how much was revised by hand: most labels come from models trained on the collections that it is made of",)
