"""convert: all cases of a collection, in processes; stopped anywhere, a second call does the rest."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from nnunetv2_cdpd.conversion.case import CaseJob, convert_case
from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.facts import Facts
from nnunetv2_cdpd.conversion.layout import find_cases
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import FileRecord, digest, file_state, in_processes, read_json, run, write_json

RECORD_FILE = "cdpd_convert_record.jsonl"
_COMMAND = "cdpd convert"
_FIRST_ID = 300


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
            raise UserError(f"--part-id {self.part_id} --num-parts {self.num_parts}: parts are numbered 0 ... num_parts - 1")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit {self.limit}: give at least 1")


@dataclass
class Outcome:
    """What came of a call.

    complete: Whether dataset.json was written.
    done_before: Cases that an earlier call has converted.
    remaining: Cases that other parts have still to do.
    skipped, failed: Case identifier -> reason.
    notes: Case identifier -> notes on it.
    """

    folder: Path
    complete: bool = False
    converted: list[str] = field(default_factory=list)
    done_before: list[str] = field(default_factory=list)
    remaining: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
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
) -> Outcome:
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
    from nnunetv2.configuration import default_num_processes

    facts = Facts(dataset, options.split_sides)
    found = find_cases(dataset, Path(source_folder))
    output = output_folder(dataset.name, dataset_id)
    outcome = Outcome(output)
    chosen = _choose(dataset, found, options, outcome)
    if not chosen:
        raise UserError(f"{source_folder}: every case is left out; nothing to convert")
    for line in _about_the_folder(dataset, found):
        report(line)

    states = _states(chosen)
    jobs = {dataset.identifier(case.case): _job(case, facts, output, options, states) for case in chosen}
    sources = {dataset.identifier(case.case): case.source or dataset.name for case in chosen}
    records = _open_records(output, dataset, options)
    own = records[0]
    done = {name: record for name in jobs for record in records if record.holds(name, jobs[name])}
    ours = list(jobs)[options.part_id :: options.num_parts]
    wanted = [name for name in ours if name not in done]
    if options.limit is not None:
        wanted = [name for name in list(jobs)[: options.limit] if name in wanted]
    gone = sorted({name for record in records for name in record.cases} - set(jobs))
    outcome.done_before = [name for name in jobs if name in done]

    (output / "imagesTr").mkdir(parents=True, exist_ok=True)
    (output / "labelsTr").mkdir(exist_ok=True)
    if wanted or gone:
        (output / "dataset.json").unlink(missing_ok=True)  # there only while every case agrees with it
    for name in sorted({name for record in records for name in record.cases} - set(done)):
        if options.num_parts == 1 or name in ours:
            for path in _outputs(output, name):
                path.unlink(missing_ok=True)
    for name, record in done.items():
        if options.num_parts == 1 or name in ours:
            own.cases[name] = record.cases[name]
    own.rewrite(name for name in own.cases if name in done)
    for other in records[1:] if options.num_parts == 1 else ():
        other.path.unlink()
    shutil.rmtree(output / ".partial", ignore_errors=True) if options.num_parts == 1 else None
    if outcome.done_before and wanted:
        report(f"{output.name}: {len(outcome.done_before)} cases are done already")

    processes = default_num_processes if num_processes is None else num_processes
    found = run(
        {name: jobs[name] for name in wanted},
        in_processes(convert_case, processes),
        title=f"Converting {dataset.name}",
        record=own,
        progress=progress,
    )
    outcome.converted, outcome.failed = list(found.done), found.failed
    _finish(output, facts, outcome, jobs, sources, options, records, own)
    return outcome


def _finish(
    output: Path,
    facts: Facts,
    outcome: Outcome,
    jobs: dict[str, CaseJob],
    sources: dict[str, str],
    options: Options,
    records: Sequence[FileRecord],
    own: FileRecord,
) -> None:
    """Write dataset.json if all cases are there."""
    entries = dict(own.cases)
    if options.num_parts > 1:  # other parts may have finished meanwhile
        for record in _open_records(output, facts.dataset, options)[1:]:
            entries |= {name: record.cases[name] for name in record.cases if name in jobs}
        entries = {name: entry for name, entry in entries.items() if name in jobs and entry.made_from == jobs[name].made_from}
    outcome.notes = {name: tuple(entry.facts["notes"]) for name, entry in entries.items() if entry.facts["notes"]}
    expected = list(jobs) if options.limit is None else list(jobs)[: options.limit]
    outcome.remaining = len([name for name in expected if name not in entries and name not in outcome.failed])
    if outcome.failed or outcome.remaining:
        (output / "dataset.json").unlink(missing_ok=True)
        return
    shutil.rmtree(output / ".partial", ignore_errors=True)
    in_order = [name for name in jobs if name in entries]
    expected_files = {path for name in in_order for path in jobs[name].outputs}
    for folder in ("imagesTr", "labelsTr"):  # of a case that was written when a kill came, and is left out since
        for path in (output / folder).glob(f"{facts.dataset.name}_*"):
            path.unlink() if path not in expected_files else None
    # Sources as they are listed now, not as of when the case was done: a table of the download may have been mended since.
    case_source = {name: (sources[name], tuple(entries[name].facts["merged"])) for name in in_order}
    dataset_json = facts.dataset_json(output.name, case_source)
    if read_json(output / "dataset.json") != dataset_json:
        write_json(output / "dataset.json", dataset_json)
    outcome.complete = True


def output_folder(name: str, dataset_id: int | None) -> Path:
    """nnUNet_raw/Dataset<id>_<name>.

    Raises:
        UserError: nnUNet_raw is not set, the id is none of nnU-Net's or taken by another dataset.
    """
    from nnunetv2.paths import nnUNet_raw
    from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

    def others(number: int) -> list[str]:
        """Other names of this id in nnUNet_raw, nnUNet_preprocessed and nnUNet_results: nnU-Net wants one in all three."""
        return sorted({str(folder) for folder in find_candidate_datasets(number)} - {f"Dataset{number:03d}_{name}"})

    if not nnUNet_raw.is_set():
        raise UserError("nnUNet_raw is not set; `export nnUNet_raw=/path/to/raw_datasets` and call again")
    raw = Path(os.path.abspath(nnUNet_raw.require()))
    if dataset_id is None:
        mine = sorted(int(path.name[7:10]) for path in raw.glob(f"Dataset[0-9][0-9][0-9]_{name}"))
        if mine:  # where it was converted to before
            return raw / f"Dataset{mine[0]:03d}_{name}"
        dataset_id = next(number for number in range(_FIRST_ID, 1000) if not others(number))
    if not 0 < dataset_id < 1000:
        raise UserError(f"-d {dataset_id}: nnU-Net's dataset ids have three digits; give one of 1 ... 999")
    if taken := others(dataset_id):
        raise UserError(f"-d {dataset_id}: taken by {', '.join(taken)}; nnU-Net wants one name per id, give another")
    return raw / f"Dataset{dataset_id:03d}_{name}"


def _choose(dataset: SourceDataset, found: Iterable[FoundCase], options: Options, outcome: Outcome) -> list[FoundCase]:
    """The cases without those that are known to be wrong and those that the user leaves out."""
    reasons = {case: erratum.reason for erratum in dataset.errata if erratum.skip for case in erratum.cases}
    notes = {case: erratum.reason for erratum in dataset.errata if not erratum.skip for case in erratum.cases}
    known = {name: case for case in found for name in (case.case, dataset.identifier(case.case))}
    if unknown := [name for name in options.leave_out if name not in known]:
        raise UserError(f"--leave-out {' '.join(unknown)}: no such case; cases are named like {next(iter(known))}")
    reasons |= {known[name].case: "left out with --leave-out" for name in options.leave_out}
    outcome.skipped = {dataset.identifier(case.case): reasons[case.case] for case in found if case.case in reasons}
    chosen = [case for case in found if case.case not in reasons]
    return [case if case.case not in notes else _noted(case, notes[case.case]) for case in chosen]


def _noted(case: FoundCase, note: str) -> FoundCase:
    return replace(case, note="; ".join(filter(None, (case.note, note))))


def _about_the_folder(dataset: SourceDataset, found: Sequence[FoundCase]) -> list[str]:
    if dataset.num_cases is None or len(found) == dataset.num_cases:
        return []
    return [f"note: {len(found)} labelled cases found, {dataset.name} has {dataset.num_cases}; is the download complete?"]


def _job(case: FoundCase, facts: Facts, output: Path, options: Options, states: Mapping[Path, tuple[int, int] | None]) -> CaseJob:
    dataset = facts.dataset
    identifier = dataset.identifier(case.case)
    masks = [(dataset.values[key], path) for key, path in case.masks.items() if dataset.values[key] is not None]
    masks.sort(key=lambda mask: facts.paint_order(mask[0]))
    job = CaseJob(
        identifier=identifier,
        image=tuple(case.image),
        dicom=dataset.dicom,
        label=tuple(case.label),
        masks=tuple((facts.stored[name], path) for name, path in masks),
        values=facts.values,
        outputs=_outputs(output, identifier),
        work_folder=output / ".partial" / identifier,
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


def _states(cases: Iterable[FoundCase]) -> dict[Path, tuple[int, int] | None]:
    return {path: file_state(path) for case in cases for path in (*case.image, *case.label, *case.masks.values())}


def _made_from(job: CaseJob, states: Mapping[Path, tuple[int, int] | None]) -> str:
    """Digest of the files and of all that decides the outcome; not of where the collection lies, which may be moved."""
    files = [[path.name, states[path]] for path in (*job.image, *job.label)]
    masks = [[value, states[path]] for value, path in job.masks]
    slices = job.labelled_slices and ["of the label file", *job.labelled_slices]  # once they were counted in the image
    how = [slices, job.ignore_value, job.resample_labels, repr(job.placement), repr(job.sides)]
    return digest(files, masks, sorted(job.values.items()), how)


def _open_records(output: Path, dataset: SourceDataset, options: Options) -> list[FileRecord]:
    """The record of this call, then those of all other calls that have written here."""
    part = f".{options.part_id}of{options.num_parts}" if options.num_parts > 1 else ""
    own = output / RECORD_FILE.replace(".jsonl", f"{part}.jsonl")
    others = sorted(path for path in output.glob(RECORD_FILE.replace(".jsonl", "*.jsonl")) if path != own)
    records = [FileRecord(path, [dataset.name], _COMMAND, asdict) for path in (own, *others)]
    if output.is_dir() and not own.is_file() and not others and any(output.iterdir()):
        made = {path.name for path in output.iterdir()} - {"imagesTr", "labelsTr", ".partial"}
        if made or any((output / "imagesTr").glob("*")):
            raise UserError(f"{output}: exists and is not from `{_COMMAND}`; nothing was changed, move it or give another -d")
    return records
