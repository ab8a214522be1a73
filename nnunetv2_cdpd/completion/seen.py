"""Seen: which cases of a dataset each fold of a teacher was trained on, so that no case is labelled by a network that knows it.

A case is found among a teacher's by its images, where the raw dataset that the teacher was trained on is at hand, and by its
name, with the prefix too that `cdpd merge --prefix` gives. What a fold kept back, its validation tells (as it does for
`quality`), else splits_final.json; a case of the teacher's dataset that it did not keep back was trained on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset, read_dataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import read_json
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.merge.folds import DUPLICATES_FILE, SPLITS_FILE, read_splits
from nnunetv2_cdpd.quality.unseen import is_extended

ALL = "all"
FoldId = int | str


@dataclass(frozen=True)
class TrainingCases:
    """What is known of the cases of a model.

    names: Of all of them; empty: nothing tells.
    images: File -> case, of the raw dataset that it was trained on, if that is at hand.
    kept_back: Fold -> cases that it was not trained on; None: nothing tells.
    """

    names: frozenset[str]
    images: Mapping[Path, str]
    kept_back: Mapping[FoldId, frozenset[str] | None]

    def unseen_by(self, case: RawCase, files: Sequence[Path], source: str) -> tuple[FoldId, ...]:
        """The folds that were not trained on a case.

        Args:
            files: Its images.
            source: Name of its source, which its identifier may begin with.
        """
        own = self._own(case, files, source)
        return tuple(fold for fold, kept in self.kept_back.items() if not own or (kept is not None and own <= kept))

    def _own(self, case: RawCase, files: Sequence[Path], source: str) -> set[str]:
        """What the model calls a case; empty: it is none of its cases."""
        prefix = re.sub(r"[^A-Za-z0-9.-]+", "_", source) + "_"  # as `merge.collect` makes it
        names = {case.identifier, case.identifier.removeprefix(prefix)} & self.names
        return names | {self.images[path] for path in map(real_path, files) if path in self.images}


def training_cases(
    folder: Path, plans: Mapping[str, Any], content: Mapping[str, Any], folds: Iterable[FoldId], allow_seen: bool = False
) -> TrainingCases:
    """What the files of a model, and its dataset where that is at hand, tell of its cases.

    Args:
        content: Of the model's dataset.json.
        allow_seen: Nothing needs to be told.

    Raises:
        UserError: Its splits_final.json or raw dataset is damaged, or nothing tells which cases a fold was trained on.
    """
    name, ending = str(plans.get("dataset_name", "")), str(content["file_ending"])
    block = content.get("cdpd")
    listed = [content.get("dataset"), block.get("case_source") if isinstance(block, Mapping) else None]
    names = {str(case) for each in listed if isinstance(each, Mapping) for case in each}
    raw = _raw_dataset(name)
    images: dict[Path, str] = {}
    if raw is not None:
        names |= {case.identifier for case in raw.cases}
        images = {real_path(raw.path(entry)): case.identifier for case in raw.cases for entry in case.images}
    splits = _splits(name)
    names |= {case for split in splits for part in ("train", "val") for case in split[part]}
    extended = is_extended(plans)
    kept: dict[FoldId, frozenset[str] | None] = {}
    for fold in folds:
        validated = _validated(folder / f"fold_{fold}" / "validation", ending)
        names |= validated
        if fold == ALL or extended:
            kept[fold] = frozenset()
        elif validated:
            kept[fold] = frozenset(validated)
        else:
            number = int(fold)
            kept[fold] = frozenset(splits[number]["val"]) if number < len(splits) else None
    if (unknown := [fold for fold, its in kept.items() if its is None]) and not allow_seen:
        raise UserError(
            f"{folder}: nothing tells which cases fold {unknown[0]} was not trained on: it has no validation, and "
            f"nnUNet_preprocessed no {name}/{SPLITS_FILE}; run `nnUNetv2_train ... {unknown[0]} --val`, or give "
            "argument allow_seen"
        )
    number = _number_of_cases(content)
    # A case that nothing names would pass for one of another dataset.
    if (not names or (raw is None and len(names) < number)) and not allow_seen:
        told = f"{len(names)} of its {number} cases are known" if names else "nothing tells which cases it was trained on"
        raise UserError(
            f"{folder}: {told}; have its raw dataset {name} in nnUNet_raw, or its validation in the folder of each fold, or give "
            "argument allow_seen"
        )
    return TrainingCases(frozenset(names), images, kept)


def _number_of_cases(content: Mapping[str, Any]) -> int:
    """As dataset.json states it; 0: it does not."""
    stated = content.get("numTraining")
    return stated if isinstance(stated, int) else 0


def same_scans(dataset: RawDataset) -> dict[str, frozenset[str]]:
    """Case -> all cases of the dataset that show the same scan, itself too, as `cdpd merge` found them."""
    found = read_json(dataset.folder / DUPLICATES_FILE)
    groups = found.get("groups", ()) if isinstance(found, Mapping) else ()
    together: dict[str, frozenset[str]] = {case.identifier: frozenset({case.identifier}) for case in dataset.cases}
    for group in groups if isinstance(groups, list) else ():
        its = frozenset(case for case in group if case in together) if isinstance(group, list) else frozenset()
        together |= dict.fromkeys(its, its)
    return together


def _raw_dataset(name: str) -> RawDataset | None:
    raw = folder_of_nnunet(nnUNet_raw)
    if raw is None or not name or not (raw / name / FILE_NAME).is_file():
        return None
    return read_dataset(raw / name)


def _splits(name: str) -> list[dict[str, list[str]]]:
    preprocessed = folder_of_nnunet(nnUNet_preprocessed)
    if preprocessed is None or not name or not (path := preprocessed / name / SPLITS_FILE).is_file():
        return []
    return read_splits(path, "mend it, or remove it, if it is of another training")


def _validated(folder: Path, ending: str) -> set[str]:
    return set(identifiers(folder, ending)) if folder.is_dir() else set()
