"""complete_dataset: from a partly annotated raw dataset and teachers to an ordinary nnU-Net dataset, case by case, resumable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes

from nnunetv2_cdpd.completion.asking import NO_TEACHER, completion_jobs, questions_of, trusted_classes
from nnunetv2_cdpd.completion.labelling import CaseLabeller
from nnunetv2_cdpd.completion.middle import ct_of
from nnunetv2_cdpd.completion.networks import Networks
from nnunetv2_cdpd.completion.openness import Openness
from nnunetv2_cdpd.completion.output import (
    TABLE_FILE,
    completed_annotation,
    completed_dataset_json,
    decisions_csv,
    open_completion_record,
)
from nnunetv2_cdpd.completion.reference_cases import annotated_facts
from nnunetv2_cdpd.completion.references import References
from nnunetv2_cdpd.completion.settings import OUTLIER, CompletionSettings, checked_settings
from nnunetv2_cdpd.completion.summary import completion_summary
from nnunetv2_cdpd.completion.teachers import read_teachers
from nnunetv2_cdpd.completion.work import CaseCompleter, CompletionJob
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.output import clear_leftovers, dataset_folder, dataset_output
from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.datasets.raw import RawDataset, read_dataset
from nnunetv2_cdpd.errors import UserError, amount, check_at_least, listed
from nnunetv2_cdpd.jobs import FileRecord, digest, in_processes, read_json, remove, run, write_json, write_text
from nnunetv2_cdpd.merge.collect import raise_problems
from nnunetv2_cdpd.merge.folds import SPLITS_FILE


def complete_dataset(
    dataset: str | int | Path,
    teachers: Sequence[Path],
    dataset_id: int,
    name: str | None = None,
    *,
    settings: CompletionSettings = CompletionSettings(),
    checkpoint_name: str = "checkpoint_final.pth",
    allow_seen: bool = False,
    device: str | None = None,
    num_processes: int = default_num_processes,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Path:
    """Complete a dataset; a second call does what is missing, or was made from other files, teachers or settings.

    Args:
        dataset: Id, name or folder of a raw dataset, which stays as it is.
        teachers: Model folders, ours or stock nnU-Net's.
        dataset_id: Of the completed dataset, 1 ... 999.
        name: Of the completed dataset; None: that of the dataset with `_completed`.
        checkpoint_name: Of each fold of the teachers.
        allow_seen: Take what a teacher says of cases that all of its folds were trained on.
        device: For the teachers; None: a GPU if there is one.
        num_processes: For reading the annotated cases.
        progress: Show bars.
        report: Called with each note, and with the table at the end.

    Returns:
        Folder of the completed dataset.

    Raises:
        UserError: Whatever the user can mend. dataset.json is written only when every case is fine.
    """
    check_at_least(1, num_processes=num_processes)
    settings = checked_settings(settings)
    given = read_dataset(dataset)
    raise_problems([f"{given.name}: {problem}" for problem in given.problems], "nothing was written; mend these")
    name = name or f"{given.short_name}_completed"
    output = dataset_folder(name, dataset_id)
    if output == given.folder:
        raise UserError(f"{output}: both the dataset and the output; give another argument dataset_id")
    open_classes = _open_classes(given)
    its_teachers = read_teachers(teachers, given, checkpoint_name=checkpoint_name, allow_seen=allow_seen)
    for teacher in its_teachers:
        for fold in teacher.folds_without_checkpoint:
            report(f"note: {teacher.name}: {fold} has no {checkpoint_name} and is not asked")
        for line in teacher.undecided_lines(given.annotation.classes):
            report(line)
    trusted = trusted_classes(its_teachers, settings, report)
    for line in _untaught(given, open_classes, trusted):
        report(line)
    questions = questions_of(given, its_teachers, trusted, allow_seen=allow_seen)
    reader = reader_for(given.dataset_json, [given.path(case.label) for case in given.cases])
    with dataset_output(name, dataset_id) as output:
        record = open_completion_record(output, given)
        if record.damage is not None:
            report(f"note: {record.damage}")
        output.mkdir(parents=True, exist_ok=True)
        if record.recorded_inputs is None:
            record.rewrite(keep=())  # before anything else is there: it tells a killed run's folder from another's
        facts = annotated_facts(given, output, reader, num_processes, progress) if settings.uses(OUTLIER) else {}
        compared = digest({case: {key: asdict(value) for key, value in its.items()} for case, its in sorted(facts.items())})
        jobs = completion_jobs(given, output, questions, settings, compared)
        annotation, values = completed_annotation(given.annotation)
        completer = CaseCompleter(
            given.annotation,
            settings,
            reader,
            ct_of(given.dataset_json),
            Networks(settings, device),
            CaseLabeller(given.annotation, len(values) - 1),
            References(tuple(facts[case] for case in sorted(facts))) if settings.uses(OUTLIER) else None,
            facts,
            values,
        )
        _complete(output, given, jobs, record, completer, progress, report)
        told = {case: record.cases[case].facts for case in jobs}
        content = completed_dataset_json(output, given, annotation, its_teachers, settings, told)
        write_text(output / TABLE_FILE, decisions_csv(told))
        _keep_folds(given, output)
        if read_json(output / FILE_NAME) != content:
            write_json(output / FILE_NAME, content)
    for line in _seen_lines(told):
        report(line)
    report(completion_summary(given.annotation.classes, told))
    return output


def _complete(
    output: Path,
    given: RawDataset,
    jobs: Mapping[str, CompletionJob],
    record: FileRecord,
    completer: CaseCompleter,
    progress: bool,
    report: Callable[[str], None],
) -> None:
    """Do the cases that are not done; dataset.json and the table are there only while every label map agrees."""
    done = [case for case, job in jobs.items() if record.holds(case, job)]
    gone = sorted(set(record.cases) - set(jobs))
    if len(done) < len(jobs) or gone:
        remove(output / FILE_NAME)
        remove(output / TABLE_FILE)
        if anew := [case for case in record.cases if case in jobs and case not in done]:
            report(f"{output.name}: {amount(len(anew), 'case')} done from other files, teachers or settings; done anew")
        record.rewrite(keep=done)
        (output / "labelsTr").mkdir(exist_ok=True)
        for case in gone:
            remove(output / "labelsTr" / f"{case}{given.dataset_json.file_ending}")
        if done:
            report(f"{output.name}: {len(done)} of {len(jobs)} cases are up to date")
    else:
        report(f"{output.name}: all {len(jobs)} cases are up to date")
    outcome = run(jobs, in_processes(completer.complete, 1), title="Completing", record=record, progress=progress)
    clear_leftovers(output)
    raise_problems(
        [f"{given.name}: case {case!r}: {reason}" for case, reason in outcome.failed.items()],
        f"{output.name} is not complete; the other cases are done, mend these and call again",
    )


def _open_classes(given: RawDataset) -> set[int]:
    """Classes that some source leaves open.

    Raises:
        UserError: There are none.
    """
    annotation = given.annotation
    used = {annotation.source_index(case.identifier) for case in given.cases}
    found = {k for source in used for k in Openness.of(annotation, source).open_classes}
    if not found:
        raise UserError(
            f"{given.name}: every source annotates every class, so there is nothing to complete; give a merged dataset"
        )
    return found


def _untaught(given: RawDataset, open_classes: set[int], trusted: Mapping[str, Sequence[int]]) -> list[str]:
    """A warning on classes that no teacher tells of, for whose sake all background of their cases is ignored."""
    taught = {k for classes in trusted.values() for k in classes}
    names = [given.annotation.classes[k] for k in sorted(open_classes - taught)]
    if not names:
        return []
    return [
        f"warning: {NO_TEACHER} to be trusted tells of {listed(names)}; where that may be in the cases of sources that do not "
        "annotate it, nothing is taught: all background of theirs is ignored"
    ]


def _seen_lines(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seen = [case for case, facts in told.items() if any(its.get("seen") for its in facts["classes"].values())]
    return (
        [f"warning: {amount(len(seen), 'case')} labelled by networks that were trained on them: {listed(seen, 3)}"]
        if seen
        else []
    )


def _keep_folds(given: RawDataset, output: Path) -> None:
    """The folds of the dataset, which may keep the same scan in one fold, are those of the completed one."""
    if (splits := read_json(given.folder / SPLITS_FILE)) is not None and read_json(output / SPLITS_FILE) != splits:
        write_json(output / SPLITS_FILE, splits)
