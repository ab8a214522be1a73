"""Roles: whether a folder holds images, references or predictions, by nnU-Net's names and by what was written beside them."""

import os
import re
from enum import Enum
from pathlib import Path

from nnunetv2_cdpd.host import DATASET_FILE, PLANS_FILE
from nnunetv2_cdpd.jobs.files import real_path

SETTINGS_FILE = "cdpd_predict.json"  # how `cdpd predict` made the predictions beside it
NNUNET_SETTINGS_FILE = "predict_from_raw_data_args.json"  # the same of nnUNetv2_predict
_BESIDE_PREDICTIONS = (SETTINGS_FILE, NNUNET_SETTINGS_FILE, PLANS_FILE)
_IN_RAW_DATASET = re.compile(r"(images|labels)(Tr|Ts|Val)")
_OF_PREPROCESSED = "gt_segmentations"
_OF_FOLD = "validation"
_FIRST_CHANNEL = re.compile(r".+_0000\.[A-Za-z][\w.]*")


class Role(Enum):
    """What a folder is for, in words."""

    IMAGES = "images"
    REFERENCES = "references"
    PREDICTIONS = "predictions"


def role_of(folder: Path) -> Role | None:
    """What a folder is for; None where nothing tells.

    A record of a prediction says so wherever it lies; else the names of nnU-Net's raw and preprocessed datasets and of the
    folds of a training do, and names of images in a folder without a dataset.json.
    """
    folder = real_path(folder)
    if any((folder / name).is_file() for name in _BESIDE_PREDICTIONS):
        return Role.PREDICTIONS
    if is_of_raw_dataset(folder):
        return Role.IMAGES if folder.name.startswith("images") else Role.REFERENCES
    if folder.name == _OF_PREPROCESSED:
        return Role.REFERENCES
    if folder.name == _OF_FOLD and folder.parent.name.startswith("fold_"):
        return Role.PREDICTIONS
    # A case may be called `scan_0000` itself: a dataset.json, which says what values mean, lies beside label maps only.
    if not folder.is_dir() or (folder / DATASET_FILE).is_file():
        return None
    return Role.IMAGES if any(map(_FIRST_CHANNEL.fullmatch, os.listdir(folder))) else None


def is_of_raw_dataset(folder: Path) -> bool:
    """Whether a folder is imagesTr, labelsTr or the like of a raw dataset, whose dataset.json may be still to come."""
    folder = real_path(folder)
    if not _IN_RAW_DATASET.fullmatch(folder.name) or not folder.parent.is_dir():
        return False
    siblings = (other for other in folder.parent.iterdir() if _IN_RAW_DATASET.fullmatch(other.name) and other != folder)
    return (folder.parent / DATASET_FILE).is_file() or any(other.is_dir() for other in siblings)
