"""RawDataset: an nnU-Net raw dataset with its annotation and its cases.

Nothing is written and no image is opened here. nnU-Net's own listing reads `imagesTr` with a pool of processes and takes
any file for a case; ours names what does not fit.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names, find_dataset, read_dataset_json
from nnunetv2_cdpd.errors import UserError


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
    """

    given: str
    folder: Path
    dataset_json: Mapping[str, Any]
    annotation: Annotation
    cases: tuple[RawCase, ...]
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        return channel_names(self.dataset_json)

    def path(self, entry: str) -> Path:
        """Absolute path of an image or label, by nnU-Net's rules for the `dataset` entry of dataset.json."""
        return Path(os.path.abspath(self.folder / os.path.expandvars(entry)))


def read_dataset(given: str | int | Path, raw_folder: Path) -> RawDataset:
    """Read dataset.json and list the cases.

    Raises:
        UserError: dataset.json is damaged, incomplete or contradicts itself.
    """
    folder = find_dataset(given, raw_folder)
    read = read_dataset_json(folder / FILE_NAME, needed=("channel_names", "labels", "file_ending"))
    path, dataset_json, annotation, _ = read.path, read.content, read.annotation, read.channel_names
    if not isinstance(dataset_json.get("dataset", {}), Mapping):
        raise UserError(f'{path}: `dataset` gives each case its files, like {{"case": {{"images": ["..."], "label": "..."}}}}')
    list_cases = _listed_cases if "dataset" in dataset_json else _cases_in_folders
    cases, problems = list_cases(folder, dataset_json)
    if not cases:
        problems.append("holds no case; fill it or take it out")
    return RawDataset(str(given), folder, dataset_json, annotation, tuple(cases), tuple(problems))


def _listed_cases(folder: Path, dataset_json: Mapping[str, Any]) -> tuple[list[RawCase], list[str]]:
    """Cases of the `dataset` entry of dataset.json."""
    cases, problems = [], []
    for identifier, files in dataset_json["dataset"].items():
        images, label = (files.get("images"), files.get("label")) if isinstance(files, Mapping) else (None, None)
        if isinstance(images, list) and images and label is not None:
            cases.append(RawCase(identifier, tuple(map(str, images)), str(label)))
        else:
            problems.append(f"case {identifier!r}: its `dataset` entry in dataset.json needs a list `images` and a `label`")
        if identifier in ("", ".", "..") or re.search(r"[/\\\0]", identifier):
            problems.append(f"case {identifier!r}: a case identifier becomes a file name; take / and \\ out of it")
    return cases, problems


def _cases_in_folders(folder: Path, dataset_json: Mapping[str, Any]) -> tuple[list[RawCase], list[str]]:
    """Cases of imagesTr and labelsTr."""
    ending = dataset_json["file_ending"]
    named = re.compile(rf"(.+)_\d{{4}}{re.escape(ending)}")
    images: dict[str, list[str]] = {}
    for name in _files(folder / "imagesTr", ending):
        if match := named.fullmatch(name):
            images.setdefault(match[1], []).append(f"imagesTr/{name}")
    labelled = [name[: -len(ending)] for name in _files(folder / "labelsTr", ending)]
    problems = [
        f"case {identifier!r}: no image imagesTr/{identifier}_0000{ending} for its label; add it or remove the label"
        for identifier in labelled
        if identifier not in images
    ]
    cases = [RawCase(name, tuple(files), f"labelsTr/{name}{ending}") for name, files in images.items()]
    return cases, problems


def _files(folder: Path, ending: str) -> list[str]:
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(name for name in names if name.endswith(ending) and not name.startswith("."))
