"""convert: all cases of a collection, in processes; stopped anywhere, a second call does the rest."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.configuration import default_num_processes

from nnunetv2_cdpd.conversion.case import convert_case
from nnunetv2_cdpd.conversion.dataset_facts import DatasetFacts
from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.job import ConvertedCase
from nnunetv2_cdpd.conversion.layout import find_downloaded_cases
from nnunetv2_cdpd.conversion.plan import Options, Plan, left_out, make_plan, outputs_of
from nnunetv2_cdpd.conversion.records import PartRecords
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.output import clear_leftovers, dataset_output
from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.jobs import Outcome, in_processes, output_folder, read_json, run, write_json

__all__ = ["Conversion", "Options", "convert", "convert_labels"]

_FOLDERS = ("imagesTr", "labelsTr")


@dataclass
class Conversion(Outcome[ConvertedCase]):
    """What came of a call; `done`, `before` and `failed` as of any batch.

    complete: Whether dataset.json was written.
    remaining: Cases that other parts have still to do.
    is_part: Other calls do other cases; the dataset is finished by one that does all.
    skipped: Case identifier -> reason.
    notes: Case identifier -> notes on it.
    lost: Case identifier -> structures that were drawn in it and of which its label holds nothing -> why.
    unmapped: Name in structure sets and segmentations that the declaration does not name -> how many cases have it.
    """

    folder: Path = Path()
    complete: bool = False
    remaining: int = 0
    is_part: bool = False
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: dict[str, dict[str, str]] = field(default_factory=dict)
    unmapped: dict[str, int] = field(default_factory=dict)


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
        What was done; `failed` cases stop no other, but dataset.json is only written when there are none, and by a call for
        all cases: of several parts none knows that it is the last one.

    Raises:
        UserError: The folder is not laid out as expected, or the output folder is not ours.
    """
    check_at_least(1, num_processes=num_processes)
    found = find_downloaded_cases(dataset, Path(source_folder), report, options.leave_out)
    if dataset.num_cases not in (None, len(found)):
        report(f"note: {len(found)} labelled cases found, {dataset.name} has {dataset.num_cases}; is the download complete?")
    with dataset_output(dataset.name, dataset_id, options.part_id, options.num_parts) as output:
        return _convert(dataset, found, output, options, num_processes, progress, report)


def convert_labels(
    dataset: SourceDataset,
    cases: Sequence[FoundCase],
    output: Path,
    *,
    predicted: bool = False,
    num_processes: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Conversion:
    """The label maps of cases and their dataset.json, in a folder that nothing else is in; images tell the grid only.

    Args:
        predicted: As of `Options`.

    Raises:
        UserError: Every case is left out, or the output folder is not ours.
    """
    with output_folder(output):
        return _convert(dataset, cases, output, Options(labels_only=True, predicted=predicted), num_processes, progress, report)


def _convert(
    dataset: SourceDataset,
    found: Sequence[FoundCase],
    output: Path,
    options: Options,
    num_processes: int | None,
    progress: bool,
    report: Callable[[str], None],
) -> Conversion:
    """Plan what is to do and do it; no other call is at work on these cases."""
    skipped = left_out(dataset, found, options)
    chosen = [case for case in found if dataset.identifier(case.case) not in skipped]
    if not chosen:
        raise UserError(f"{output.name}: every case is left out; nothing to convert")
    plan = make_plan(DatasetFacts(dataset, options.split_sides), chosen, output, options)
    for damage in plan.records.damage:
        report(f"note: {damage}")
    _clear_outdated(plan)
    if plan.done and plan.todo:
        report(f"{plan.output.name}: {len(plan.done)} cases are done already")
    outcome = run(
        plan.todo,
        in_processes(convert_case, default_num_processes if num_processes is None else num_processes),
        title=f"Converting {plan.facts.dataset.name}",
        record=plan.records.own,
        progress=progress,
    )
    is_part = plan.options.num_parts > 1
    return _finish(plan, Conversion(outcome.done, list(plan.done), outcome.failed, plan.output, is_part=is_part, skipped=skipped))


def _clear_outdated(plan: Plan) -> None:
    """Bring the output folder to where the work can go on: what is of other cases or out of date goes."""
    output, records, alone = plan.output, plan.records, plan.options.num_parts == 1
    output.mkdir(parents=True, exist_ok=True)
    if plan.todo or records.known - set(plan.jobs):
        (output / FILE_NAME).unlink(missing_ok=True)  # there only while every case agrees with it
    for name in records.known - set(plan.done):
        if alone or name in plan.ours:
            for path in outputs_of(output, name):
                path.unlink(missing_ok=True)
    records.take_over(plan.done, plan.ours, alone)  # before anything else is there: it tells whose folder it is
    for folder in _FOLDERS[plan.options.labels_only :]:
        (output / folder).mkdir(exist_ok=True)
    if alone:
        clear_leftovers(output)


def _finish(plan: Plan, outcome: Conversion) -> Conversion:
    """Write dataset.json if all cases are there, and no other call is at work."""
    output, jobs, options, dataset = plan.output, plan.jobs, plan.options, plan.facts.dataset
    # Other parts may have finished meanwhile.
    entries = PartRecords(output, dataset.name, options.part_id, options.num_parts, options.way_out).valid(jobs)
    expected = list(jobs)[: options.limit]
    outcome.remaining = len([name for name in expected if name not in entries and name not in outcome.failed])
    names = Counter(unmapped for entry in entries.values() for unmapped in entry.facts.get("unmapped", ()))
    outcome.unmapped = dict(sorted(names.items(), key=lambda pair: (-pair[1], pair[0])))
    for name in [name for name, entry in entries.items() if entry.facts.get("left_out")]:
        outcome.skipped[name] = entries.pop(name).facts["left_out"]
        outcome.done.pop(name, None)
    outcome.before = [name for name in outcome.before if name not in outcome.skipped]
    outcome.notes = {name: tuple(entry.facts["notes"]) for name, entry in entries.items() if entry.facts["notes"]}
    outcome.lost = {name: dict(lost) for name, entry in entries.items() if (lost := entry.facts.get("lost"))}
    clear_leftovers(output)
    if (outcome.failed and not options.labels_only) or outcome.remaining:
        (output / FILE_NAME).unlink(missing_ok=True)
        return outcome
    if outcome.is_part or not entries:  # all were looked at and left out
        return outcome
    for name in {*jobs, *outcome.skipped} - set(entries):  # one that was written when a kill came, and is left out since
        for path in outputs_of(output, name):
            path.unlink(missing_ok=True)
    # Sources as they are listed now, not as of when the case was done: a table of the download may have been mended since.
    case_source = {}
    for name, entry in entries.items():
        held, lost = entry.facts.get("held", ()), () if options.predicted else outcome.lost.get(name, ())
        case_source[name] = plan.facts.source_of(jobs[name].case.source, held, lost), tuple(entry.facts["merged"])
    dataset_json = plan.facts.dataset_json(output.name, case_source)
    if read_json(output / FILE_NAME) != dataset_json:
        write_json(output / FILE_NAME, dataset_json)
    outcome.complete = True
    return outcome
