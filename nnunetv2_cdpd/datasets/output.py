"""Where we write: no command takes the place of a file that it did not make; nnUNet_raw/Dataset<id>_<name> of a dataset."""

import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnunetv2_cdpd.datasets.roles import Role, is_of_raw_dataset, role_of
from nnunetv2_cdpd.datasets.volume_files import image_files
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs import output_folder
from nnunetv2_cdpd.jobs.files import BESIDE, remove, remove_leftovers

_FIRST_ID = 300
_MOST_BYTES = 200  # of a name; file systems take 255 for "Dataset300_" and it


def check_may_write(
    paths: Iterable[Path], *, made_here: bool, way_out: str, label_maps: bool = False, where: Path | None = None
) -> None:
    """Raise UserError unless files can be written without taking the place of what somebody else made.

    Args:
        paths: All that is about to be written.
        made_here: Whether the record of the command, or the file itself, says that an earlier call made what is there. A
            command writes that record before anything else, so that it can go on where it was killed.
        way_out: For the message, as "give another folder".
        label_maps: The folder is filled with label maps: others in it would be taken for them, and they for images in it.
        where: The folder that the user gave; None: those of the paths.
    """
    paths = list(paths)
    if made_here:
        return
    for folder in dict.fromkeys([where] if where is not None else [path.parent for path in paths]):
        role = role_of(folder)
        # A page among images harms nobody, unless in a raw dataset, where files are cases.
        is_taken = role is Role.REFERENCES or (role is Role.IMAGES and (label_maps or is_of_raw_dataset(folder)))
        if is_taken and role is not None:
            raise UserError(f"{folder}: holds {role.value}, among which nothing is written; {way_out}")
        paths += [folder / name for name in image_files(folder)] if label_maps else []
    if there := [path for path in dict.fromkeys(paths) if os.path.lexists(path)]:
        it = listed(["it", *map(str, there[1:])], most=1)
        raise UserError(f"{there[0]}: nothing says that this command made {it}; nothing was changed, {way_out}")


def check_own_folder(folder: Path, *, made_here: bool, command: str, way_out: str) -> None:
    """Raise UserError if a folder that a command fills alone holds anything else.

    Args:
        made_here: As for `check_may_write`.
        command: Which would have made it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is no folder; nothing was changed, move it or {way_out}")
    if not made_here and not is_empty(folder):
        raise UserError(f"{folder}: exists and is not from `{command}`; nothing was changed, move it or {way_out}")


def folder_of_nnunet(variable: os.PathLike[str]) -> Path | None:
    """Where one of nnU-Net's variables leads, as an absolute path; None if it is not set.

    A shell sets it to nothing where a variable of its own is missing; nnU-Net would take the working folder then.
    """
    try:
        value = os.fspath(variable)
    except RuntimeError:
        return None
    return Path(os.path.abspath(value)) if value.strip() else None


def raw_folder() -> Path:
    """nnUNet_raw, as an absolute path.

    Raises:
        UserError: It is not set, or to nothing, or to what is no folder.
    """
    folder = folder_of_nnunet(nnUNet_raw)
    if folder is None:
        how = "set to nothing" if nnUNet_raw.is_set() else "not set"
        raise UserError(f"nnUNet_raw is {how}; `export nnUNet_raw=/path/to/raw_datasets` and call again")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"nnUNet_raw is {folder}, which is no folder; set it to the folder of the raw datasets")
    return folder


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
    if len(name.encode()) > _MOST_BYTES:
        raise UserError(f"argument name: {len(name)} letters; it becomes part of file names, give at most {_MOST_BYTES}")
    if dataset_id is None:
        mine = sorted(int(path.name[7:10]) for path in raw.glob(f"Dataset[0-9][0-9][0-9]_{name}"))
        dataset_id = mine[0] if mine else next(number for number in range(_FIRST_ID, 1000) if not other_names_of_id(number, name))
    elif not 0 < dataset_id < 1000:
        raise UserError(f"argument dataset_id {dataset_id}: nnU-Net's dataset ids have three digits; give one of 1 ... 999")
    elif taken := other_names_of_id(dataset_id, name):
        raise UserError(
            f"argument dataset_id {dataset_id}: taken by {', '.join(taken)}; nnU-Net wants one name per id, give another"
        )
    return raw / f"Dataset{dataset_id:03d}_{name}"


@contextmanager
def results_in(folder: Path) -> Iterator[None]:
    """Have nnU-Net's trainers write below a folder, whatever nnUNet_results says."""
    before = os.environ.get("nnUNet_results")
    os.environ["nnUNet_results"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["nnUNet_results"]
        else:
            os.environ["nnUNet_results"] = before


@contextmanager
def dataset_output(name: str, dataset_id: int | None, part_id: int = 0, num_parts: int = 1) -> Iterator[Path]:
    """`dataset_folder`, held as by `output_folder`: no other call takes its id meanwhile for a dataset of another name.

    Raises:
        UserError: As both.
    """
    while True:
        output = dataset_folder(name, dataset_id)
        is_new = not output.exists()
        with output_folder(output, part_id, num_parts):
            # Each of two that begin at once has made its folder before it looks, so that one at least sees the other.
            if not is_new or not other_names_of_id(int(output.name[7:10]), name):
                yield output
                return
        time.sleep(random.uniform(0.02, 0.3))


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
    return path.name == ".partial" or (path.suffix == ".tmp" and path.name.startswith(("dataset.", "cdpd_")))


def other_names_of_id(number: int, name: str) -> list[str]:
    """Other names of an id in nnUNet_raw, nnUNet_preprocessed and nnUNet_results: nnU-Net wants one in all three."""
    return sorted({str(folder) for folder in find_candidate_datasets(number)} - {f"Dataset{number:03d}_{name}"})
