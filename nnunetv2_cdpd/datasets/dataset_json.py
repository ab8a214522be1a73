"""DatasetJson: nnU-Net's dataset.json, read in one place, so that whatever is wrong with it is told with the file's name."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_raw

from nnunetv2_cdpd.annotation import Annotation, Source, read_annotation
from nnunetv2_cdpd.datasets.names import as_id
from nnunetv2_cdpd.datasets.output import folder_of_nnunet, raw_folder
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.host import DATASET_FILE as FILE_NAME
from nnunetv2_cdpd.jobs.shapes import NAME, Shape, check_shape, map_of, read_shaped, record
from nnunetv2_cdpd.trusted import IMAGE_READER, trusted

READER_KEY = "overwrite_image_reader_writer"
_NNUNETS_JOKE = "Whoever converted this dataset"
_NO_READER = "None"  # as nnU-Net writes it
_ENDING = Shape('a text like ".nii.gz"', lambda value: isinstance(value, str) and bool(re.fullmatch(r"(\.[\w+-]+)+", value)))
_KINDS = record(optional={"file_ending": _ENDING}, words="an object, as a dataset.json of nnU-Net v2 does")
_CHANNELS = map_of(NAME, 'an object that numbers the channels, like {"0": "CT"}', least=1)


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

    @property
    def image_reader(self) -> str | None:
        """Name of the reader of nnU-Net that it asks for; None: nnU-Net chooses by file ending."""
        asked = self.content.get(READER_KEY, _NO_READER)
        return None if asked == _NO_READER else asked

    def licenses_of(self, source: Source) -> tuple[str, ...]:
        """Every license that it states for a source: beside it, and for the whole dataset where that is the only source.

        nnU-Net writes `licence`, and a joke where nobody gave one.
        """
        of_all = [self.content.get("licence"), self.content.get("license")] if len(self.annotation.sources) == 1 else []
        joined = f"{source.name}: {source.license}"  # as `cdpd merge` writes it for all sources
        texts = [str(text) for text in (source.license, *of_all) if text and str(text) != joined]
        return tuple(dict.fromkeys(text for text in texts if not text.startswith(_NNUNETS_JOKE)))

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
    missing_file = "it says what the values of the labels mean, copy it there"
    content = read_shaped(path, _KINDS, "mend it there, or make it anew", missing_file)
    if missing := [key for key in needed if key not in content]:
        names = ", ".join(f"`{key}`" for key in missing)
        raise UserError(f"{path}: {names} missing; nnU-Net v2 needs them, see its dataset_format.md")
    if content.get(READER_KEY, _NO_READER) != _NO_READER:
        from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES  # takes half a second

        readers = ", ".join(reader.__name__ for reader in LIST_OF_IO_CLASSES)
        way_out = f"give one of {readers}, or take it out, nnU-Net then chooses"
        trusted(content[READER_KEY], IMAGE_READER, f"{path}: `{READER_KEY}`", way_out)
    return DatasetJson(path, content)


def channel_names(content: Mapping[str, Any], where: str | Path = FILE_NAME) -> tuple[str, ...]:
    """Names of the image channels, in their order; nnU-Net takes `modality` for `channel_names` too.

    Raises:
        UserError: There are none, or they are not numbered.
    """
    key = "modality" if not content.get("channel_names") and content.get("modality") else "channel_names"
    way_out = "mend it there"
    check_shape(content, record({key: _CHANNELS}), where, way_out)
    channels: Mapping[str, str] = content[key]
    if not all(re.fullmatch(r"\d{1,4}", str(number)) for number in channels):  # as nnU-Net counts files of channels
        raise UserError(f'{where}: `{key}` numbers the channels, like {{"0": "CT"}}; {way_out}')
    return tuple(channels[number] for number in sorted(channels, key=int))


def find_dataset(given: str | int | Path) -> Path:
    """Folder of a dataset: a path, or an id or a name (Dataset301_KITS) in nnUNet_raw, where that is not set in this folder.

    Raises:
        UserError: There is none, or more than one of that id.
    """
    text, number = str(given), as_id(given)
    raw = raw_folder() if folder_of_nnunet(nnUNet_raw) else Path.cwd()
    if number is not None:
        found = sorted(folder for folder in raw.glob(f"Dataset{number:03d}_*") if folder.is_dir())
    else:
        found = [folder for folder in (Path(text).expanduser(), raw / text) if (folder / FILE_NAME).is_file()][:1]
    if len(found) == 1:
        return Path(os.path.abspath(found[0]))
    if not found and not folder_of_nnunet(nnUNet_raw):
        raise UserError(
            f"{given}: no dataset here, and nnUNet_raw is not set; `export nnUNet_raw=/path/to/raw_datasets`, or give a folder"
        )
    if number is None:
        raise UserError(f"{given}: no nnU-Net raw dataset here (no {FILE_NAME}); give an id, a name or a folder")
    there = listed([folder.name for folder in found or sorted(raw.glob("Dataset*"))]) or "none"
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
