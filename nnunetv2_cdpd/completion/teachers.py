"""Teachers: trained models, ours or stock nnU-Net's, and what of a dataset's classes they know; classes are matched by name.

A class of the dataset that holds others is known where the teacher has it; what the teacher has of the nested ones belongs to
it then, whether the teacher's own labels nest (liver = liver and tumor) or not (liver, tumor), and whether the dataset has a
class for them or not. Of a kidney's tumor nothing tells in which of both kidneys it is: it is undecided for each.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, STATE_OF, UNSUPERVISED, Annotation, read_annotation
from nnunetv2_cdpd.classes import lies_in_by_name, outer_keys, says_tumor
from nnunetv2_cdpd.completion.seen import FoldId, TrainingCases, training_cases
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, channel_names
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.evaluation.matching import name_finder
from nnunetv2_cdpd.inference.models import folds_of, read_descriptions
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.training.provenance import file_checksum


@dataclass(frozen=True)
class Teacher:
    """A model folder.

    name: For tables; tells it from the other teachers.
    knows: Class of the dataset -> the teacher's classes that make it up together; both by index.
    undecided: Class of the dataset -> further ones of the teacher that may be of it or not.
    own_names: Class of the dataset -> what the teacher calls it.
    cases: Which cases its folds were trained on.
    """

    name: str
    folder: Path
    plans: Mapping[str, Any]
    annotation: Annotation
    checkpoint_name: str
    knows: Mapping[int, tuple[int, ...]]
    undecided: Mapping[int, tuple[int, ...]]
    own_names: Mapping[int, str]
    cases: TrainingCases

    @property
    def folds(self) -> tuple[FoldId, ...]:
        return tuple(self.cases.kept_back)

    @property
    def folds_without_checkpoint(self) -> tuple[str, ...]:
        """Folders of folds that were begun, and are not asked."""
        begun = sorted(path for path in self.folder.glob("fold_*") if path.is_dir())
        return tuple(path.name for path in begun if not (path / self.checkpoint_name).is_file())

    def undecided_lines(self, classes: Sequence[str]) -> list[str]:
        """For the user: what of the teacher's own is undecided, and for which classes of the dataset."""
        lines = []
        for own in sorted({own for its in self.undecided.values() for own in its}):
            possible = listed([classes[k] for k, its in self.undecided.items() if own in its])
            what = f"{self.annotation.classes[own]} may be of {possible} or not"
            lines.append(f"note: {self.name}: {what}; where it finds one, these are neither taught nor taught as absent")
        return lines

    @cached_property
    def checksums(self) -> dict[FoldId, str]:
        """Fold -> SHA-256 of its checkpoint."""
        return {fold: file_checksum(self.folder / f"fold_{fold}" / self.checkpoint_name) for fold in self.folds}


def read_teachers(
    folders: Sequence[Path], dataset: RawDataset, *, checkpoint_name: str, allow_seen: bool = False
) -> list[Teacher]:
    """Read what model folders say of themselves.

    Args:
        folders: As nnUNetv2_train writes them.
        dataset: That is to be completed.
        checkpoint_name: Of each fold.
        allow_seen: Nothing needs to tell which cases they were trained on.

    Raises:
        UserError: A folder is no model or is given twice, has other channels than the dataset, or none of its classes.
    """
    if not folders:
        raise UserError("argument teachers: no teacher; give the folder of a trained model")
    places = [real_path(Path(folder)) for folder in folders]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise UserError(f"argument teachers: {', '.join(twice)} given twice; give each model once")
    names = _names(places)
    return [
        _teacher(name, Path(folder), dataset, checkpoint_name, allow_seen) for name, folder in zip(names, folders, strict=True)
    ]


def known_classes(target: Annotation, own: Annotation) -> tuple[dict[int, tuple[int, ...]], dict[int, str]]:
    """`knows` and `own_names` of a teacher.

    Args:
        target: Of the dataset.
        own: Of the teacher.
    """
    meant = _meant(target, own)
    knows = {}
    for index, k in sorted(meant.items(), key=lambda pair: pair[1]):
        inner = _others(target, own, index, POSITIVE)
        # A head of a region speaks for what lies in it.
        knows[k] = (index, *(other for other in inner if not set(own.regions[other]) <= set(own.regions[index])))
    return knows, {k: own.classes[index] for index, k in meant.items()}


def undecided_classes(target: Annotation, own: Annotation) -> dict[int, tuple[int, ...]]:
    """`undecided` of a teacher; without classes of which all is known.

    Args:
        target: Of the dataset.
        own: Of the teacher.
    """
    undecided = {}
    for index, k in _meant(target, own).items():
        # A head that was trained with these as possible parts speaks for them.
        ancestors = {other: own.possible_ancestors(own.classes[other]) for other in _others(target, own, index, UNSUPERVISED)}
        undecided[k] = tuple(other for other, its in ancestors.items() if own.classes[index] not in its)
    return {k: others for k, others in undecided.items() if others}


def _meant(target: Annotation, own: Annotation) -> dict[int, int]:
    """Class of the teacher -> class of the dataset that it is by its name."""
    find = name_finder(target.classes)
    return {index: target.classes.index(found) for index, name in enumerate(own.classes) if (found := find(name)) is not None}


def _others(target: Annotation, own: Annotation, index: int, state: int) -> list[int]:
    """Other classes of the teacher by whether their voxels are of the class of the dataset that one of them is.

    The dataset says it of those that are classes of its own, names and the class table of the others.

    Args:
        index: Of that one.
        state: POSITIVE, NEGATIVE, or UNSUPERVISED if unknown.
    """
    meant = _meant(target, own)
    k = meant[index]
    found = []
    for other, name in enumerate(own.classes):
        if other in meant:
            its = _lies_in(target, meant[other], k)
        else:
            its = _membership(name, target.classes[k])
        if its == state and other != index:
            found.append(other)
    return found


def _lies_in(target: Annotation, inner: int, outer: int) -> int:
    """Whether a class lies in another one: POSITIVE, NEGATIVE, or UNSUPERVISED if a part of it does; one without a value of its
    own is what all its values are.
    """
    value, region = target.values[inner], target.regions[inner]
    values = region if target.values.count(value) > 1 else (value,)
    held = {each in target.regions[outer] for each in values}
    if set(target.regions[outer]) <= set(region) or True not in held:
        return NEGATIVE
    return UNSUPERVISED if False in held else POSITIVE


def _membership(name: str, outer: str) -> int:
    """Whether voxels of a class are of another one by their names: POSITIVE, NEGATIVE, or UNSUPERVISED if unknown."""
    if says_tumor(name) and not outer_keys(name):  # of whatever organ
        return UNSUPERVISED
    return STATE_OF[lies_in_by_name(name, outer)]


def _teacher(name: str, folder: Path, dataset: RawDataset, checkpoint_name: str, allow_seen: bool) -> Teacher:
    plans, content = read_descriptions(folder)
    wanted, found = dataset.dataset_json.channel_names, channel_names(content, folder / FILE_NAME)
    if list(map(str.lower, wanted)) != list(map(str.lower, found)):
        raise UserError(
            f"{folder}: trained on the channels {', '.join(found)}, and {dataset.name} has {', '.join(wanted)}; give a teacher "
            "of the same channels"
        )
    annotation = read_annotation(content, where=folder / FILE_NAME)
    knows, own_names = known_classes(dataset.annotation, annotation)
    undecided = undecided_classes(dataset.annotation, annotation)
    if not knows:
        raise UserError(
            f"{folder}: knows {listed(list(annotation.classes))}, none of which {dataset.name} has; leave it out, or rename "
            "the classes when you merge"
        )
    cases = training_cases(folder, plans, content, folds_of(folder, None, checkpoint_name), allow_seen)
    return Teacher(name, folder, plans, annotation, checkpoint_name, knows, undecided, own_names, cases)


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path that tell it from the others, DATASET/TRAINER__PLANS__CONFIGURATION at least."""
    for parts in range(2, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]).replace(os.sep, "/").lstrip("/") for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
