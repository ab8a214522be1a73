"""Reliability: a class is taken from a teacher only if the teacher's own cross-validation was good at it."""

from collections.abc import Mapping

from nnunetv2_cdpd.card.folder import read_model_folder
from nnunetv2_cdpd.card.scores import scores_of_model
from nnunetv2_cdpd.completion.seen import ALL
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.teachers import Teacher
from nnunetv2_cdpd.errors import UserError


def cross_validated_dice(teacher: Teacher) -> dict[str, float]:
    """The teacher's class -> mean Dice over the cases that its folds kept back and that hold or are said to hold it.

    Raises:
        UserError: There was no cross-validation.
    """
    way_out = "validate each fold (nnUNetv2_train ... --val), or leave out the filter reliability"
    if all(fold == ALL for fold in teacher.folds):
        raise UserError(
            f"{teacher.folder}: fold all alone, which validates on what it was trained on, so nothing tells which classes it is "
            f"reliable on; train other folds and {way_out}"
        )
    scores = scores_of_model(read_model_folder(teacher.folder, checksums=False))
    if scores is None:
        raise UserError(
            f"{teacher.folder}: no summary.json of a validation, so nothing tells which classes it is reliable on; {way_out}"
        )
    return {entry["name"]: entry["dice"] for entry in scores["classes"] if entry["dice"] is not None}


def reliable_classes(teacher: Teacher, dice: Mapping[str, float], settings: CompletionSettings) -> tuple[int, ...]:
    """Classes of the dataset that are taken from a teacher; one that no validation scored is not.

    Args:
        dice: Of its own classes, as `cross_validated_dice` gives it.
    """
    return tuple(k for k, name in teacher.own_names.items() if dice.get(name, -1.0) >= settings.least_dice)
