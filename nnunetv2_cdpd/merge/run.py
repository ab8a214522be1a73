"""merge_datasets: from several nnU-Net raw datasets to one; images are referenced, label maps rewritten."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes

from nnunetv2_cdpd.annotation import POSITIVE
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson
from nnunetv2_cdpd.datasets.output import clear_leftovers, dataset_folder
from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.datasets.raw import RawDataset, read_datasets
from nnunetv2_cdpd.errors import check_at_least
from nnunetv2_cdpd.jobs import (
    FileRecord,
    Outcome,
    digest,
    file_state,
    in_processes,
    output_folder,
    read_json,
    remove,
    run,
    write_json,
)
from nnunetv2_cdpd.merge.cases import MergeJob, check_case, rewrite_case
from nnunetv2_cdpd.merge.collect import MergedCase, check_inputs, collect_cases, raise_problems
from nnunetv2_cdpd.merge.duplicates import find_duplicates, held_back_images
from nnunetv2_cdpd.merge.folds import write_folds
from nnunetv2_cdpd.merge.licensing import allowed_inputs, license_entry
from nnunetv2_cdpd.merge.output import (
    check_moved,
    check_renamed,
    forget_former,
    former_cases,
    make_dataset_json,
    open_record,
    set_former_aside,
)
from nnunetv2_cdpd.merge.plan import MergePlan, plan_merge
from nnunetv2_cdpd.merge.readers import reader_asked_for, warnings_on_readers
from nnunetv2_cdpd.merge.spec import read_merge_spec
from nnunetv2_cdpd.merge.summary import merge_summary
from nnunetv2_cdpd.merge.telling import names_table
from nnunetv2_cdpd.merge.written_spec import check_new, write_inferred_spec


def merge_datasets(
    datasets: Sequence[str | int | Path],
    dataset_id: int,
    name: str,
    *,
    spec: str | Path | Mapping[str, Any] | None = None,
    num_processes: int = default_num_processes,
    prefix: bool = False,
    update: bool = False,
    search_duplicates: bool = True,
    exclude_duplicates_of: Sequence[str | int | Path] = (),
    progress: bool = True,
    report: Callable[[str], None] = print,
    dry_run: bool = False,
    write_spec: str | Path | None = None,
    license: str | None = None,
) -> Path:
    """Merge nnU-Net raw datasets; a second call does only what is missing or was made from files that have changed.

    Args:
        datasets: Ids, names or folders.
        dataset_id: Of the merged dataset, 1 ... 999.
        name: Of the merged dataset: nnUNet_raw/Dataset<id>_<name>.
        spec: YAML file, or what it would hold as a dict.
        num_processes: With 1 everything runs in this process.
        prefix: Put the source's name before each case identifier.
        update: Go on in a folder that was merged from other datasets, or with other names of the same classes.
        search_duplicates: Read all images to find those of the same scan, and keep these in one fold.
        exclude_duplicates_of: Datasets, or folders of images, whose scans are left out.
        progress: Show a progress bar.
        report: Called with the table of names, each note and warning.
        dry_run: Check everything and report what would be written; write nothing but `write_spec`.
        write_spec: A new file for the YAML that was inferred; given as `spec`, it makes the same dataset.
        license: "commercial" or "research": leave out the sources whose license is not known to allow that use.

    Returns:
        Folder of the merged dataset.

    Raises:
        UserError: Whatever the user can mend. dataset.json is written only when every case is fine.
    """
    check_at_least(1, num_processes=num_processes)
    output = dataset_folder(name, dataset_id)
    if write_spec is not None:
        check_new(Path(write_spec))
    inputs = read_datasets(datasets)
    check_inputs(inputs, output)
    for dataset in inputs:
        for stray in dataset.strays:
            report(f"note: {stray}")
    reader_asked_for(inputs)  # before anything is searched: some cannot be read alike
    licensed = allowed_inputs(inputs, read_merge_spec(spec), license)
    inputs, left_out, licensing = licensed.inputs, licensed.left_out, license_entry(license, licensed.left_out)
    plan = plan_merge(inputs, licensed.spec)
    cases = collect_cases(inputs, plan, prefix)
    with nullcontext() if dry_run else output_folder(output):
        record = open_record(output, inputs, left_out, update)
        if record.damage is not None:
            report(f"note: {record.damage}")
        known = former_cases(output) or set(record.cases)  # of a merge that an earlier release left unfinished
        report(names_table(inputs, plan.naming))
        changed = (*check_renamed(output, inputs, plan, update), *check_moved(output, record, inputs, plan, update))
        for note in (*licensed.notes, *plan.notes, *changed):
            report(f"note: {note}")
        if write_spec is not None:
            write_inferred_spec(Path(write_spec), inputs, plan)
            report(f"{write_spec}: holds what was inferred, for argument spec")
        duplicates = None
        if search_duplicates or exclude_duplicates_of:
            held_back = held_back_images(exclude_duplicates_of, inputs[0].dataset_json.file_ending)
            duplicates = find_duplicates(
                cases, held_back, num_processes=num_processes, progress=progress, report=report, keep=not dry_run
            )
            cases = [case for case in cases if case.identifier not in duplicates.left_out]
            for identifier, why in duplicates.left_out.items():
                report(f"left out: case {identifier!r} {why}")
        dataset_json = make_dataset_json(output, inputs, plan, cases, licensing)
        jobs = _make_jobs(output, inputs, plan, cases, dataset_json)
        case_source = {case.identifier: case.source for case in cases}

        if dry_run:
            stored = _check(output, inputs, jobs, record, num_processes=num_processes, progress=progress, report=report)
        elif _begin(output, jobs, record, dataset_json, report):
            rewrite = in_processes(rewrite_case, num_processes)
            outcome = run(jobs, rewrite, title="Rewriting label maps", record=record, progress=progress)
            clear_leftovers(output)
            raise_problems(
                _failed(outcome, inputs, jobs),
                f"{output.name} is not complete; the other cases are done, mend these and call again",
            )
            write_json(output / FILE_NAME, dataset_json)
        if not dry_run:
            stored = {case.identifier: record.cases[case.identifier].facts["values"] for case in cases}

        for warning in _warnings(inputs, plan, cases, stored):
            report(f"warning: {warning}")
        if dry_run:
            wrote = "" if write_spec is None else f" but {write_spec}"
            if duplicates and duplicates.groups:
                report(f"would keep {len(duplicates.groups)} scan(s) that are in several cases in one fold each")
            summary = merge_summary(replace(plan.annotation, case_source=case_source), licensing)
            report(f"\n{summary}\n\nNothing was written{wrote}.")
            return output
        write_folds(output, case_source, duplicates, report, new=case_source.keys() - known)
        forget_former(output)
    return output


def _make_jobs(
    output: Path, inputs: Sequence[RawDataset], plan: MergePlan, cases: Sequence[MergedCase], dataset_json: Mapping[str, Any]
) -> dict[str, MergeJob]:
    reader = reader_for(DatasetJson(output / FILE_NAME, dataset_json), [case.images[0] for case in cases])
    num_channels = len(dataset_json["channel_names"])
    annotations = [replace(dataset.annotation, case_source=None) for dataset in inputs]  # less to send to the processes
    jobs = {}
    for case in cases:
        label = output / dataset_json["dataset"][case.identifier]["label"]
        values = plan.value_maps[case.dataset]
        files = [[path.name, file_state(path)] for path in (case.label, *case.images)]
        made_from = digest(files, sorted(values.items()), reader.name, num_channels)
        jobs[case.identifier] = MergeJob(case, label, annotations[case.dataset], values, reader, num_channels, made_from)
    return jobs


def _check(
    output: Path,
    inputs: Sequence[RawDataset],
    jobs: Mapping[str, MergeJob],
    record: FileRecord,
    *,
    num_processes: int,
    progress: bool,
    report: Callable[[str], None],
) -> dict[str, Sequence[int]]:
    """Check the cases that would be rewritten, and say what would be written; the merged values of each case."""
    todo = {identifier: job for identifier, job in jobs.items() if not record.holds(identifier, job)}
    outcome = run(todo, in_processes(check_case, num_processes), title="Checking label maps", progress=progress)
    raise_problems(_failed(outcome, inputs, jobs), "nothing was written; mend these and call again")
    gone = len(set(record.cases) - set(jobs))
    removed = f", remove {gone}" if gone else ""
    report(f"would write {output}: dataset.json, {len(todo)} of {len(jobs)} label maps in labelsTr{removed}")
    return {identifier: record.cases[identifier].facts["values"] for identifier in jobs if identifier not in todo} | outcome.done


def _failed(outcome: Outcome, inputs: Sequence[RawDataset], jobs: Mapping[str, MergeJob]) -> list[str]:
    return [f"{inputs[jobs[case].case.dataset].name}: case {case!r}: {reason}" for case, reason in outcome.failed.items()]


def _begin(
    output: Path,
    jobs: Mapping[str, MergeJob],
    record: FileRecord,
    dataset_json: Mapping[str, Any],
    report: Callable[[str], None],
) -> bool:
    """Make the output folder ready, and say whether there is anything to do.

    dataset.json is there only while every label map agrees with it.
    """
    done = [identifier for identifier, job in jobs.items() if record.holds(identifier, job)]
    gone = sorted(set(record.cases) - set(jobs))
    path = output / FILE_NAME
    same = read_json(path) == dataset_json and record.inputs == record.recorded_inputs
    if len(done) == len(jobs) and not gone and same:
        report(f"{output.name}: all {len(jobs)} cases are up to date, nothing to do")
        return False
    if path.is_file():
        report(f"{output.name}: changed since the last merge; run nnUNetv2_plan_and_preprocess again afterwards")
        set_former_aside(output)
    output.mkdir(parents=True, exist_ok=True)
    record.rewrite(keep=done)  # before anything else is there: it tells a killed run's folder from another's
    (output / "labelsTr").mkdir(exist_ok=True)
    for identifier in gone:
        remove(output / "labelsTr" / f"{identifier}{dataset_json['file_ending']}")
    if 0 < len(done) < len(jobs):
        report(f"{output.name}: {len(done)} of {len(jobs)} cases are up to date")
    return True


def _warnings(
    inputs: Sequence[RawDataset], plan: MergePlan, cases: Sequence[MergedCase], stored: Mapping[str, Sequence[int]]
) -> list[str]:
    """What may be a mistake of the user, yet is a valid dataset."""
    annotation = plan.annotation
    warnings = []
    for source, table in zip(annotation.sources, annotation.tables):
        there_are = {value for case in cases if case.source == source.name for value in stored[case.identifier]}
        positive = (table[sorted(there_are)] == POSITIVE).any(0)
        holding = {name for name, there in zip(annotation.classes, positive) if there}
        holding |= {label.name for label in annotation.merged_labels if label.value in there_are}
        absent = [name for name in (*source.annotated_classes, *source.merged_labels) if name not in holding]
        if absent:
            warnings.append(f"source {source.name!r} annotates {', '.join(absent)}, but none of its cases contains it")
    alone = {name for source in annotation.sources for name in source.annotated_classes}
    warnings += [
        f"{', '.join(never)}: only annotated together, as {label.name!r}; nothing tells them apart"
        for label in annotation.merged_labels
        if (never := [name for name in label.classes if name not in alone])
    ]
    return warnings + warnings_on_readers(inputs)
