"""The folder of a new raw dataset, nnUNet_raw/Dataset<id>_<name>: one that nnU-Net can take."""

import os
from pathlib import Path

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnunetv2_cdpd.errors import UserError


def raw_datasets() -> Path:
    """nnUNet_raw, absolute.

    Raises:
        UserError: It is not set.
    """
    if not nnUNet_raw.is_set():
        raise UserError("nnUNet_raw is not set; `export nnUNet_raw=/path/to/raw_datasets` and call again")
    return Path(os.path.abspath(nnUNet_raw.require()))


def dataset_folder(dataset_id: int, name: str) -> Path:
    """Where a raw dataset of this id and name is to be; the folder may be there already.

    Raises:
        UserError: nnUNet_raw is not set, the id is none of nnU-Net's or taken by another name, the name can be no folder's.
    """
    if not 0 < dataset_id < 1000:
        raise UserError(f"argument dataset_id: {dataset_id} is none, nnU-Net's have three digits; give one of 1 ... 999")
    if not name or name != Path(name).name or name.startswith(".") or any(character.isspace() for character in name):
        raise UserError(f"argument name: {name!r} becomes part of a folder name; give letters, digits, _ and - only")
    if taken := other_names(dataset_id, name):
        raise UserError(
            f"argument dataset_id: {dataset_id} is taken by {', '.join(taken)}; nnU-Net wants one name per id, give another"
        )
    return raw_datasets() / f"Dataset{dataset_id:03d}_{name}"


def other_names(dataset_id: int, name: str) -> list[str]:
    """Other datasets of this id in nnUNet_raw, nnUNet_preprocessed and nnUNet_results: nnU-Net wants one name in all three."""
    return sorted({str(folder) for folder in find_candidate_datasets(dataset_id)} - {f"Dataset{dataset_id:03d}_{name}"})
