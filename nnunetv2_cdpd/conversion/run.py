"""convert: all cases of a collection, in processes; stopped anywhere, a second call does the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nnunetv2.configuration import default_num_processes

from nnunetv2_cdpd.conversion.case import ConversionJob, ConvertedCase, convert_case
from nnunetv2_cdpd.conversion.dataset_facts import DatasetFacts
from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.layout import find_downloaded_cases
from nnunetv2_cdpd.conversion.records import PartRecords
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.output import clear_leftovers, dataset_folder
from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.jobs import Outcome, digest, file_state, in_processes, read_json, run, write_json


@dataclass(frozen=True)
class Options:
    """How to convert.

    limit: Convert the first cases only.
    part_id, num_parts: Convert every num_parts-th case from part_id on; other calls do the others.
    copy: Copy files that need no change instead of linking them.
    resample_labels: Bring labels of another grid to that of their image.
    split_sides: Separate merged labels into left and right where that is unambiguous.
    leave_out: Cases to leave out, as case identifiers or as the collection names them.
    """

    limit: int | None = None
    part_id: int = 0
    num_parts: int = 1
    copy: bool = False
    resample_labels: bool = False
    split_sides: bool = False
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.part_id < self.num_parts:
            raise UserError(
                f"argument part_id {self.part_id} of {self.num_parts}: parts are numbered from 0 to {self.num_parts - 1}"
            )
        check_at_least(1, limit=self.limit)


@dataclass
class Conversion(Outcome[ConvertedCase]):
    """What came of a call; `done`, `before` and `failed` as of any batch.

    complete: Whether dataset.json was written.
    remaining: Cases that other parts have still to do.
    skipped: Case identifier -> reason.
    notes: Case identifier -> notes on it.
    """

    folder: Path = Path()
    complete: bool = False
    remaining: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def convert(
    dataset: SourceDataset,
    source_folder: str | Path,
    dataset_id: int | None = None,
    *,
    options: Options = Options(),
    num_processes: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Conversion:
    """Convert a collection to an nnU-Net raw dataset; a second call does only what is missing or has changed.

    Args:
        dataset: What is known of the collection.
        source_folder: Where it was unpacked.
        dataset_id: 1 ... 999; None: that of an earlier call for this collection, else the first free one from 300 on.
        num_processes: With 1 everything runs in this process; None: nnU-Net's default.
        progress: Show a progress bar.
        report: Called with each line for the user while it runs.

    Returns:
        What was done; `failed` cases stop no other, but dataset.json is only written when there are none.

    Raises:
        UserError: The folder is not laid out as expected, or the output folder is not ours.
    """
    facts = DatasetFacts(dataset, options.split_sides)
    found = find_downloaded_cases(dataset, Path(source_folder))
    skipped = _left_out(dataset, found, options)
    chosen = [case for case in _noted(dataset, found) if dataset.identifier(case.case) not in skipped]
    if not chosen:
        raise UserError(f"{source_folder}: every case is left out; nothing to convert")
    if dataset.num_cases not in (None, len(found)):
        report(f"note: {len(found)} labelled cases found, {dataset.name} has {dataset.num_cases}; is the download complete?")

    output = dataset_folder(dataset.name, dataset_id)
    plan = _plan(facts, chosen, output, options)
    if plan.done and plan.todo:
        report(f"{output.name}: {len(plan.done)} cases are done already")
    outcome = run(
        {name: job for name, job in plan.jobs.items() if name in plan.done or name in plan.todo},
        in_processes(convert_case, default_num_processes if num_processes is None else num_processes),
        title=f"Converting {dataset.name}",
        record=plan.records,
        progress=progress,
    )
    return _finish(plan, facts, Conversion(outcome.done, outcome.before, outcome.failed, output, skipped=skipped), options)


@dataclass(frozen=True)
class _Plan:
    """What there is to do.

    jobs: Case identifier -> its job, of all cases that are not left out.
    sources: Case identifier -> its source.
    done, todo: Of them those that any call has converted, and those that this one has to.
    """

    jobs: Mapping[str, ConversionJob]
    sources: Mapping[str, str]
    records: PartRecords
    done: frozenset[str]
    todo: frozenset[str]


def _plan(facts: DatasetFacts, cases: Sequence[FoundCase], output: Path, options: Options) -> _Plan:
    """Find what is to do, and bring the output folder to where the work can go on; what is out of date goes."""
    dataset = facts.dataset
    states = {path: file_state(path) for case in cases for path in (*case.image, *case.label, *case.masks.values())}
    jobs = {dataset.identifier(case.case): _job(case, facts, output, options, states) for case in cases}
    records = PartRecords(output, dataset.name, options.part_id, options.num_parts)
    done = frozenset(name for name, job in jobs.items() if records.holds(name, job))
    alone = options.num_parts == 1
    ours = list(jobs)[options.part_id :: options.num_parts]
    todo = frozenset(name for name in list(jobs)[: options.limit] if name in ours and name not in done)

    (output / "imagesTr").mkdir(parents=True, exist_ok=True)
    (output / "labelsTr").mkdir(exist_ok=True)
    if todo or records.known - set(jobs):
        (output / FILE_NAME).unlink(missing_ok=True)  # there only while every case agrees with it
    for name in records.known - done:
        if alone or name in ours:
            for path in _outputs(output, name):
                path.unlink(missing_ok=True)
    records.rewrite(done, jobs if alone else ours, alone)
    if alone:
        clear_leftovers(output)
    sources = {dataset.identifier(case.case): case.source or dataset.name for case in cases}
    return _Plan(jobs, sources, records, done, todo)


def _finish(plan: _Plan, facts: DatasetFacts, outcome: Conversion, options: Options) -> Conversion:
    """Write dataset.json if all cases are there."""
    output, jobs = outcome.folder, plan.jobs
    # Other parts may have finished meanwhile.
    records = PartRecords(output, facts.dataset.name, options.part_id, options.num_parts)
    entries = {
        name: entry for name, entry in records.entries().items() if name in jobs and entry.made_from == jobs[name].made_from
    }
    outcome.notes = {name: tuple(entry.facts["notes"]) for name, entry in entries.items() if entry.facts["notes"]}
    expected = list(jobs)[: options.limit]
    outcome.remaining = len([name for name in expected if name not in entries and name not in outcome.failed])
    if outcome.failed or outcome.remaining:
        (output / FILE_NAME).unlink(missing_ok=True)
        return outcome
    clear_leftovers(output)
    in_order = [name for name in jobs if name in entries]
    expected_files = {path for name in in_order for path in jobs[name].outputs}
    for folder in ("imagesTr", "labelsTr"):  # of a case that was written when a kill came, and is left out since
        for path in (output / folder).glob(f"{facts.dataset.name}_*"):
            if path not in expected_files:
                path.unlink()
    # Sources as they are listed now, not as of when the case was done: a table of the download may have been mended since.
    case_source = {name: (plan.sources[name], tuple(entries[name].facts["merged"])) for name in in_order}
    dataset_json = facts.dataset_json(output.name, case_source)
    if read_json(output / FILE_NAME) != dataset_json:
        write_json(output / FILE_NAME, dataset_json)
    outcome.complete = True
    return outcome


def _left_out(dataset: SourceDataset, found: Sequence[FoundCase], options: Options) -> dict[str, str]:
    """Case identifier -> why, of the cases that are known to be wrong and those that the user leaves out."""
    reasons = {case: erratum.reason for erratum in dataset.errata if erratum.skip for case in erratum.cases}
    known = {name: case for case in found for name in (case.case, dataset.identifier(case.case))}
    if unknown := [name for name in options.leave_out if name not in known]:
        raise UserError(f"argument leave_out {' '.join(unknown)}: no such case; cases are named like {next(iter(known))}")
    reasons |= {known[name].case: "left out with argument leave_out" for name in options.leave_out}
    return {dataset.identifier(case.case): reasons[case.case] for case in found if case.case in reasons}


def _noted(dataset: SourceDataset, found: Sequence[FoundCase]) -> list[FoundCase]:
    """The cases, with what is known of some of them."""
    notes = {case: erratum.reason for erratum in dataset.errata if not erratum.skip for case in erratum.cases}
    return [replace(case, note="; ".join(filter(None, (case.note, notes.get(case.case)))) or None) for case in found]


def _job(
    case: FoundCase, facts: DatasetFacts, output: Path, options: Options, states: Mapping[Path, tuple[int, int] | None]
) -> ConversionJob:
    dataset = facts.dataset
    identifier = dataset.identifier(case.case)
    masks = [(dataset.values[key], path) for key, path in case.masks.items() if dataset.values[key] is not None]
    masks.sort(key=lambda mask: facts.paint_order(mask[0]))
    job = ConversionJob(
        identifier=identifier,
        image=tuple(case.image),
        dicom=dataset.dicom,
        label=tuple(case.label),
        masks=tuple((facts.stored[name], path) for name, path in masks),
        values=facts.values,
        outputs=_outputs(output, identifier),
        placement=dataset.placement,
        labelled_slices=case.labelled_slices,
        ignore_value=facts.ignore_value,
        sides=facts.side_pairs,
        resample_labels=options.resample_labels,
        copy=options.copy,
        note=case.note,
    )
    return replace(job, made_from=_made_from(job, states))


def _outputs(output: Path, identifier: str) -> tuple[Path, Path]:
    return output / "imagesTr" / f"{identifier}_0000.nii.gz", output / "labelsTr" / f"{identifier}.nii.gz"


def _made_from(job: ConversionJob, states: Mapping[Path, tuple[int, int] | None]) -> str:
    """Digest of the files and of all that decides the outcome; not of where the collection lies, which may be moved."""
    files = [[path.name, states[path]] for path in (*job.image, *job.label)]
    masks = [[value, states[path]] for value, path in job.masks]
    slices = job.labelled_slices and ["of the label file", *job.labelled_slices]  # once they were counted in the image
    how = [slices, job.ignore_value, job.resample_labels, repr(job.placement), repr(job.sides)]
    return digest(files, masks, sorted(job.values.items()), how)
