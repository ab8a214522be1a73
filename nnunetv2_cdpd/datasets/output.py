"""The folder of a dataset that we make: nnUNet_raw/Dataset<id>_<name>."""

import os
from pathlib import Path

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import BESIDE, remove, remove_leftovers

_FIRST_ID = 300


def raw_folder() -> Path:
    """nnUNet_raw, as an absolute path.

    Raises:
        UserError: It is not set.
    """
    if not nnUNet_raw.is_set():
        raise UserError("nnUNet_raw is not set; `export nnUNet_raw=/path/to/raw_datasets` and call again")
    return Path(os.path.abspath(nnUNet_raw.require()))


def dataset_folder(name: str, dataset_id: int | None) -> Path:
    """Where a dataset belongs; nothing is made.

    Args:
        dataset_id: None: where a dataset of this name is already, else the first free id from 300 on.

    Raises:
        UserError: nnUNet_raw is not set, the name can be no part of a folder's name, or the id is none of nnU-Net's or taken.
    """
    raw = raw_folder()
    if not name or name != Path(name).name or name.startswith(".") or any(character.isspace() for character in name):
        raise UserError(f"argument name {name!r}: becomes part of a folder name; give letters, digits, _ and - only")
    if dataset_id is None:
        mine = sorted(int(path.name[7:10]) for path in raw.glob(f"Dataset[0-9][0-9][0-9]_{name}"))
        dataset_id = mine[0] if mine else next(number for number in range(_FIRST_ID, 1000) if not _others(number, name))
    elif not 0 < dataset_id < 1000:
        raise UserError(f"argument dataset_id {dataset_id}: nnU-Net's dataset ids have three digits; give one of 1 ... 999")
    elif taken := _others(dataset_id, name):
        raise UserError(
            f"argument dataset_id {dataset_id}: taken by {', '.join(taken)}; nnU-Net wants one name per id, give another"
        )
    return raw / f"Dataset{dataset_id:03d}_{name}"


def is_empty(folder: Path) -> bool:
    """Whether nothing but what dying processes left is in a folder, or it is not there."""
    return not folder.is_dir() or all(path.name.startswith(BESIDE) or _is_old(path) for path in folder.iterdir())


def clear_leftovers(folder: Path) -> None:
    """Take away what processes that died left in a dataset's folder."""
    for path in filter(_is_old, folder.iterdir()):
        remove(path)
    for place in (folder, folder / "imagesTr", folder / "labelsTr"):
        remove_leftovers(place)


def _is_old(path: Path) -> bool:
    """Whether version 0.1.0 was writing there when it was killed."""
    return path.name == ".partial" or path.suffix == ".tmp"


def _others(number: int, name: str) -> list[str]:
    """Other names of an id in nnUNet_raw, nnUNet_preprocessed and nnUNet_results: nnU-Net wants one in all three."""
    return sorted({str(folder) for folder in find_candidate_datasets(number)} - {f"Dataset{number:03d}_{name}"})
