"""Asking: which teacher, by which folds, is asked about which classes of each case."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.completion.filters.reliability import cross_validated_dice, reliable_classes
from nnunetv2_cdpd.completion.openness import Openness
from nnunetv2_cdpd.completion.seen import FoldId, same_scans
from nnunetv2_cdpd.completion.settings import RELIABILITY, CompletionSettings
from nnunetv2_cdpd.completion.teachers import Teacher
from nnunetv2_cdpd.completion.work import Asked, CompletionJob
from nnunetv2_cdpd.datasets.raw import RawCase, RawDataset
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs import digest, file_state

NO_TEACHER = "no teacher"
_ANNOTATION = ("sources", "possible_parents", "merged_labels")  # of the `cdpd` block, on which a completion depends


def trusted_classes(
    teachers: Sequence[Teacher], settings: CompletionSettings, report: Callable[[str], None]
) -> dict[str, tuple[int, ...]]:
    """Teacher -> classes of the dataset that are taken from it.

    Args:
        report: Hears which are not, and why.

    Raises:
        UserError: A teacher has no cross-validation.
    """
    if not settings.uses(RELIABILITY):
        return {teacher.name: tuple(teacher.own_names) for teacher in teachers}
    found = {}
    for teacher in teachers:
        dice = cross_validated_dice(teacher)
        found[teacher.name] = reliable_classes(teacher, dice, settings)
        for k in teacher.own_names.keys() - set(found[teacher.name]):
            name = teacher.own_names[k]
            scored = f"Dice {dice[name]:.4g} in its cross-validation" if name in dice else "not scored in its cross-validation"
            report(f"note: {name} is not taken from {teacher.name}: {scored}, of {settings.least_dice:g} (filter {RELIABILITY})")
    return found


@dataclass(frozen=True)
class Questions:
    """What teachers are asked about a case.

    unknown: Class that no trusted teacher tells of -> why.
    """

    source: int
    asked: tuple[Asked, ...]
    unknown: Mapping[int, str]


def questions_of(
    dataset: RawDataset, teachers: Sequence[Teacher], trusted: Mapping[str, Sequence[int]], *, allow_seen: bool
) -> dict[str, Questions]:
    """Case -> what is asked about it.

    Args:
        trusted: Teacher -> classes that are taken from it.
        allow_seen: Ask a teacher about cases that all of its folds were trained on.

    Raises:
        UserError: All folds of a teacher were trained on a case that it is asked about.
    """
    annotation, together = dataset.annotation, same_scans(dataset)
    cases = {case.identifier: case for case in dataset.cases}
    openness = [Openness.of(annotation, source) for source in range(len(annotation.sources))]
    known = {k for teacher in teachers for k in teacher.own_names}
    questions: dict[str, Questions] = {}
    refused: dict[str, list[str]] = {}
    for case in cases:
        source = annotation.source_index(case)
        is_open = openness[source].open_classes
        asked = []
        for teacher in teachers:
            classes = tuple(k for k in is_open if k in trusted[teacher.name])
            if not classes:
                continue
            folds = _unseen_by(teacher, [cases[other] for other in sorted(together[case])], dataset)
            if not folds and not allow_seen:
                refused.setdefault(teacher.name, []).append(case)
            asked.append(Asked(teacher, folds or teacher.folds, classes, not folds))
        told = {k for each in asked for k in each.classes}
        unknown = {k: RELIABILITY if k in known else NO_TEACHER for k in is_open if k not in told}
        questions[case] = Questions(source, tuple(asked), unknown)
    for teacher in teachers:
        if (its := refused.get(teacher.name)) is not None:
            lacking = "".join(f"; {fold} has no {teacher.checkpoint_name}" for fold in teacher.folds_without_checkpoint)
            raise UserError(
                f"{teacher.name}: all of its folds were trained on {len(its)} of the cases that it is asked about "
                f"({listed(its, 3)}), whose labels it would repeat{lacking}; train it as a cross-validation, or give argument "
                "allow_seen"
            )
    return questions


def completion_jobs(
    dataset: RawDataset, output: Path, questions: Mapping[str, Questions], settings: CompletionSettings, references: str
) -> dict[str, CompletionJob]:
    """The jobs, by case.

    Args:
        references: Digest of what the filter outlier compares with.
    """
    content = dataset.dataset_json.content
    block = content.get("cdpd", {})
    described = [content["labels"], content.get("regions_class_order"), {key: block.get(key) for key in _ANNOTATION}]
    jobs = {}
    for case in dataset.cases:
        its = questions[case.identifier]
        images, label = tuple(dataset.path(entry) for entry in case.images), dataset.path(case.label)
        by = [
            [each.teacher.name, [each.teacher.checksums[fold] for fold in each.folds], each.seen]
            + [[k, each.teacher.knows[k], each.teacher.undecided.get(k, ())] for k in each.classes]
            for each in its.asked
        ]
        files = [[path.name, file_state(path)] for path in (label, *images)]
        unknown = sorted(its.unknown.items())
        made_from = digest(__version__, files, described, its.source, by, unknown, settings.facts(), references)
        written = output / "labelsTr" / f"{case.identifier}{dataset.dataset_json.file_ending}"
        jobs[case.identifier] = CompletionJob(
            case.identifier, its.source, images, label, written, its.asked, its.unknown, made_from
        )
    return jobs


def _unseen_by(teacher: Teacher, same: Sequence[RawCase], dataset: RawDataset) -> tuple[FoldId, ...]:
    """Folds that were trained on none of the cases of a scan."""
    annotation = dataset.annotation
    folds = teacher.folds
    for case in same:
        source = annotation.sources[annotation.source_index(case.identifier)].name
        unseen = teacher.cases.unseen_by(case, [dataset.path(entry) for entry in case.images], source)
        folds = tuple(fold for fold in folds if fold in unseen)
    return folds
