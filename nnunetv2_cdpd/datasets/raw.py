"""RawDataset: an nnU-Net raw dataset with its annotation and its cases.

Nothing is written and no image is opened here. nnU-Net's own listing reads `imagesTr` with a pool of processes and takes
any file for a case; ours names what does not fit.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson, find_dataset, read_dataset_json
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.datasets.volume_files import image_files, not_taken
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import real_path


@dataclass(frozen=True)
class RawCase:
    """One training case.

    images: As dataset.json or the folder gives them, one per channel; may hold environment variables.
    """

    identifier: str
    images: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class RawDataset:
    """An nnU-Net raw dataset.

    given: What the user typed for it.
    problems: What is wrong with its list of cases, one line each.
    strays: Images and label maps in its folders that are of no case, one line for each folder: nnU-Net passes them over.
    """

    given: str
    dataset_json: DatasetJson
    cases: tuple[RawCase, ...]
    problems: tuple[str, ...]
    strays: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.dataset_json.path.parent

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def short_name(self) -> str:
        """ "KITS" of Dataset301_KITS."""
        return re.sub(r"^Dataset\d+_(?=.)", "", self.name)

    @property
    def annotation(self) -> Annotation:
        return self.dataset_json.annotation

    def source_name(self, source: Source) -> str:
        """What one of its sources is called; the only one of a dataset without a `cdpd` block has the dataset's name."""
        return source.name if "cdpd" in self.dataset_json.content else self.short_name

    def path(self, entry: str) -> Path:
        """Absolute path of an image or label, by nnU-Net's rules for the `dataset` entry of dataset.json."""
        return Path(os.path.abspath(self.folder / os.path.expandvars(entry)))


def read_datasets(given: Sequence[str | int | Path]) -> list[RawDataset]:
    """Read several datasets; see `read_dataset`.

    Raises:
        UserError: As there, or one is given twice.
    """
    datasets = [read_dataset(each) for each in given]
    folders = [real_path(dataset.folder) for dataset in datasets]
    if twice := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        raise UserError(f"{', '.join(twice)}: given twice; give each dataset once")
    return datasets


def read_dataset(given: str | int | Path) -> RawDataset:
    """Read dataset.json and list the cases.

    Raises:
        UserError: dataset.json is damaged, incomplete or contradicts itself.
    """
    path = find_dataset(given) / FILE_NAME
    dataset_json = read_dataset_json(path, needed=("channel_names", "labels", "file_ending"))
    _ = dataset_json.annotation, dataset_json.channel_names  # what is wrong with them is told now
    listed = dataset_json.content.get("dataset", {})
    if "dataset" not in dataset_json.content:
        cases, problems = _cases_in_folders(path.parent, dataset_json.file_ending, len(dataset_json.channel_names))
    elif isinstance(listed, Mapping):
        cases, problems = _listed_cases(listed)
    else:
        raise UserError(f'{path}: `dataset` gives each case its files, like {{"case": {{"images": ["..."], "label": "..."}}}}')
    if not cases:
        problems.append("holds no case; fill it or take it out")
    dataset = RawDataset(str(given), dataset_json, tuple(cases), tuple(problems))
    return replace(dataset, strays=tuple(_strays(dataset)))


def _strays(dataset: RawDataset) -> Iterator[str]:
    taken = {dataset.path(entry) for case in dataset.cases for entry in (*case.images, case.label)}
    ending = dataset.dataset_json.file_ending
    for folder in (dataset.folder / "imagesTr", dataset.folder / "labelsTr"):
        names = [name for name in image_files(folder) if folder / name not in taken]
        other = [name for name in names if not name.endswith(ending)]
        yield from not_taken(folder, other, f"because nnU-Net takes what ends in {ending}, letter by letter")
        yield from not_taken(folder, [name for name in names if name.endswith(ending)], "because they are of no case")


def _listed_cases(listed: Mapping[str, Any]) -> tuple[list[RawCase], list[str]]:
    """Cases of the `dataset` entry of dataset.json."""
    cases, problems = [], []
    for identifier, files in listed.items():
        images, label = (files.get("images"), files.get("label")) if isinstance(files, Mapping) else (None, None)
        if isinstance(images, list) and images and label is not None:
            cases.append(RawCase(identifier, tuple(map(str, images)), str(label)))
        else:
            problems.append(f"case {identifier!r}: its `dataset` entry in dataset.json needs a list `images` and a `label`")
        if identifier in ("", ".", "..") or re.search(r"[/\\\0]", identifier):
            problems.append(f"case {identifier!r}: a case identifier becomes a file name; take / and \\ out of it")
    return cases, problems


def _cases_in_folders(folder: Path, ending: str, num_channels: int) -> tuple[list[RawCase], list[str]]:
    """Cases of imagesTr and labelsTr."""
    places = folder / "imagesTr", folder / "labelsTr"
    channels, labelled = (identifiers(place, ending) if place.is_dir() else [] for place in places)
    images: dict[str, list[str]] = {}
    numbers: dict[str, list[int]] = {}
    for name in channels:
        if match := re.fullmatch(r"(.+)_(\d{4})", name):
            images.setdefault(match[1], []).append(f"imagesTr/{name}{ending}")
            numbers.setdefault(match[1], []).append(int(match[2]))
    problems = [
        f"case {identifier!r}: no image imagesTr/{identifier}_0000{ending} for its label; add it or remove the label"
        for identifier in labelled
        if identifier not in images
    ]
    problems += [
        f"case {identifier!r}: imagesTr has its channel{'s' * (len(its) > 1)} {_numbered(its)}; they are counted from 0000 "
        f"without a gap, and `channel_names` lists {num_channels}"
        for identifier, its in numbers.items()  # fewer files may hold several channels each, which tells when they are read
        if its != list(range(len(its))) or len(its) > num_channels
    ]
    cases = [RawCase(name, tuple(files), f"labelsTr/{name}{ending}") for name, files in images.items()]
    return cases, problems


def _numbered(channels: Iterable[int]) -> str:
    return ", ".join(f"{number:04d}" for number in channels)
