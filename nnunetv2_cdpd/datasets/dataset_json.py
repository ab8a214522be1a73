"""DatasetJson: nnU-Net's dataset.json, read in one place, so that whatever is wrong with it is told with the file's name."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_raw

from nnunetv2_cdpd.annotation import Annotation, read_annotation
from nnunetv2_cdpd.datasets.output import folder_of_nnunet, raw_folder
from nnunetv2_cdpd.errors import UserError

FILE_NAME = "dataset.json"


@dataclass(frozen=True)
class DatasetJson:
    """A dataset.json and what it says.

    content: As it is in the file; not to be changed.
    """

    path: Path
    content: Mapping[str, Any]

    @cached_property
    def annotation(self) -> Annotation:
        """Who annotates what.

        Raises:
            UserError: The labels or the `cdpd` block contradict themselves.
        """
        return read_annotation(self.content, where=self.path)

    @property
    def file_ending(self) -> str:
        return self.content["file_ending"]

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        """In the order of the channels."""
        return channel_names(self.content, self.path)


def read_dataset_json(path: str | Path, needed: Collection[str] = ("labels",)) -> DatasetJson:
    """Read a dataset.json.

    Args:
        path: The file.
        needed: Keys that it has to have.

    Raises:
        UserError: It is missing, damaged, or no dataset.json of nnU-Net v2.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; it says what the values of the labels mean, copy it there") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); make it anew or give another file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no object; is it a dataset.json of nnU-Net v2?")
    if missing := [key for key in needed if key not in content]:
        names = ", ".join(f"`{key}`" for key in missing)
        raise UserError(f"{path}: {names} missing; nnU-Net v2 needs them, see its dataset_format.md")
    if "file_ending" in needed and not isinstance(content["file_ending"], str):
        raise UserError(f'{path}: `file_ending` is {content["file_ending"]!r}, not a text like ".nii.gz"')
    return DatasetJson(path, content)


def channel_names(content: Mapping[str, Any], where: str | Path = FILE_NAME) -> tuple[str, ...]:
    """Names of the image channels, in their order; nnU-Net takes `modality` for `channel_names` too.

    Raises:
        UserError: The channels are not numbered.
    """
    channels: Any = content.get("channel_names") or content.get("modality")
    try:
        return tuple(str(channels[key]) for key in sorted(channels, key=int))
    except (TypeError, ValueError) as error:
        raise UserError(f'{where}: `channel_names` numbers the channels, like {{"0": "CT"}}') from error


def find_dataset(given: str | int | Path) -> Path:
    """Folder of a dataset: a path, or an id or a name (Dataset301_KITS) in nnUNet_raw, where that is not set in this folder.

    Raises:
        UserError: There is none, or more than one of that id.
    """
    text, raw = str(given), raw_folder() if folder_of_nnunet(nnUNet_raw) else Path.cwd()
    if text.isdigit():
        found = sorted(folder for folder in raw.glob(f"Dataset{int(text):03d}_*") if folder.is_dir())
    else:
        found = [folder for folder in (Path(text).expanduser(), raw / text) if (folder / FILE_NAME).is_file()][:1]
    if len(found) == 1:
        return Path(os.path.abspath(found[0]))
    if not found and not folder_of_nnunet(nnUNet_raw):
        raise UserError(f"{given}: no dataset here, and nnUNet_raw is not set; set it, or give a folder")
    if not text.isdigit():
        raise UserError(f"{given}: no nnU-Net raw dataset here (no {FILE_NAME}); give an id, a name or a folder")
    there = ", ".join(folder.name for folder in found or sorted(raw.glob("Dataset*"))) or "none"
    problem = "more than one dataset has this id" if found else "no dataset has this id"
    raise UserError(f"{raw}: {problem}, {text}; give a name or a folder of these: {there}")


def dataset_json_of(given: str | int | Path, needed: Collection[str] = ("labels",)) -> DatasetJson:
    """The dataset.json given as a file, or as id, name or folder of a raw dataset.

    Args:
        needed: Keys that it has to have.

    Raises:
        UserError: There is no such dataset, or its dataset.json cannot be read.
    """
    path = Path(str(given)).expanduser()
    return read_dataset_json(path if path.suffix == ".json" else find_dataset(given) / FILE_NAME, needed)
