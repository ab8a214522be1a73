"""clean_folder: clean a folder of predictions, case by case, and tell what each rule changed."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.cleanup.clean import Effects, array_axes, clean_label_map, nesting_of
from nnunetv2_cdpd.cleanup.rules import PLACE, RULES, check_rules
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson, read_dataset_json
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.predictions import NEEDED, existing_folder, identifiers, reader_for
from nnunetv2_cdpd.datasets.roles import NNUNET_SETTINGS_FILE
from nnunetv2_cdpd.datasets.volume_files import of_another_ending
from nnunetv2_cdpd.errors import UserError, amount, listed
from nnunetv2_cdpd.host import PLANS_FILE
from nnunetv2_cdpd.jobs import (
    FileRecord,
    Outcome,
    digest,
    file_state,
    in_processes,
    number_of_processes,
    output_folder,
    read_json,
    remove,
    run,
    write_json,
    written_beside,
)
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.jobs.tables import aligned
from nnunetv2_cdpd.place.applied import CTPlace
from nnunetv2_cdpd.volumes.reading import CheckedReader, told_notes

EFFECTS_FILE = "cleanup.json"
_RECORD_FILE = "cdpd_clean_record.jsonl"
_COMMAND = "cdpd clean"
COPIED = (FILE_NAME, PLANS_FILE, NNUNET_SETTINGS_FILE)  # what nnUNetv2_predict puts beside predictions


@dataclass(frozen=True)
class CleaningJob:
    """One prediction to clean.

    made_from: Digest of all that decides what comes of it.
    place: Where classes lie; None: not to be looked at.
    images: Of the prediction, a file per channel or one with all; for `place`.
    """

    in_file: Path
    out_file: Path
    reader: CheckedReader
    annotation: Annotation
    rules: Sequence[str] | None
    made_from: str
    place: CTPlace | None = None
    images: tuple[Path, ...] = ()

    @property
    def outputs(self) -> tuple[Path]:
        return (self.out_file,)


def clean_folder(
    in_dir: str | Path,
    out_dir: str | Path,
    *,
    rules: Sequence[str] | None = None,
    place: str | Path | None = None,
    images: str | Path | None = None,
    num_processes: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Outcome[Effects]:
    """Clean every prediction of a folder; a second call does only what is missing or would come out differently.

    Args:
        in_dir: Predicted label maps with their dataset.json.
        out_dir: Gets the cleaned label maps under the same names, dataset.json and cleanup.json; another folder.
        rules: Names of rules; None: all.
        place: place.json, or the model folder that holds it, for the rule `place`; None: it does nothing.
        images: Folder of the images that were predicted, for the same.
        num_processes: None: nnU-Net's default, at most one per core and case.
        report: Called with what the user should know of the folder, a line each.

    Returns:
        The effects on each case, also of those that an earlier call has cleaned, and why others could not be cleaned.

    Raises:
        UserError: A folder or dataset.json is missing or damaged, a rule is unknown, files that are not from here would be
            replaced, no case could be cleaned, or others there were cleaned by other rules.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    jobs, how = _plan(in_dir, out_dir, rules, place, images, report)
    for note in told_notes(job.in_file for job in jobs.values()):
        report(f"note: {note}")
    runner = in_processes(clean_case, number_of_processes(num_processes, len(jobs)))
    with output_folder(out_dir):
        record = FileRecord(out_dir / _RECORD_FILE, how, _COMMAND, lambda effects: {"effects": effects}, _are_facts)
        if record.damage is not None:
            report(f"note: {record.damage}")
        _clear_outdated(jobs, record, in_dir, out_dir, report)
        _copy_descriptions(in_dir, out_dir)
        outcome = run(jobs, runner, title="clean", record=record, progress=progress)
        outcome.check_any("cleaned")
        effects = {case: record.cases[case].facts["effects"] for case in jobs if case not in outcome.failed}
        if silent := [case for case, its in effects.items() if jobs[case].place is not None and PLACE not in its]:
            why = "shows less than 4 cm of a body or one unlike those that place was learned from, or does not lie along its axes"
            report(f"note: {listed(silent)}: cleaned without place, as the image {why}")
        cleaned = Outcome(effects, failed=outcome.failed)
        content = {"version": 1, "all_cases": total_effects(cleaned), "cases": cleaned.done, "problems": cleaned.failed}
        write_json(out_dir / EFFECTS_FILE, content)
    return cleaned


def _clear_outdated(
    jobs: Mapping[str, CleaningJob], record: FileRecord, in_dir: Path, out_dir: Path, report: Callable[[str], None]
) -> None:
    """Remove what earlier calls made and this one would make otherwise, so that the folder never holds a mix of the two."""
    others = [case for case in record.cases if case not in jobs]
    if others and record.recorded_inputs != record.inputs:
        raise UserError(
            f"{out_dir}: holds {listed(others)}, which were cleaned by other rules and are not among the predictions now; use "
            "another folder"
        )
    if others:
        gone = f"whose predictions are no more in {in_dir}"
        report(f"note: {out_dir}: also holds {listed(others)}, {gone}; remove them there if they are not to be scored")
    done = [case for case, job in jobs.items() if record.holds(case, job)]
    if record.recorded_inputs is not None or _are_effects(out_dir / EFFECTS_FILE):  # else nothing there is ours
        for case in jobs.keys() - set(done):
            remove(jobs[case].out_file)
        remove(out_dir / EFFECTS_FILE)
    record.rewrite([*others, *done])


def _plan(
    in_dir: Path,
    out_dir: Path,
    rules: Sequence[str] | None,
    place: str | Path | None,
    images: str | Path | None,
    report: Callable[[str], None],
) -> tuple[dict[str, CleaningJob], list[str]]:
    """Case -> what to do, and how all of them are cleaned; nothing is written."""
    if real_path(out_dir) == real_path(in_dir):
        raise UserError(f"{out_dir}: the cleaned predictions need a folder of their own, to be compared with the others")
    check_rules(rules)
    if (place is None) != (images is None):
        missing, given = ("images", "place") if images is None else ("place", "images")
        raise UserError(f"argument {missing}: is needed with argument {given}; give both or none")
    if place is None and PLACE in (rules or ()):
        raise UserError("argument rules: place needs what was learned of the dataset; give argument place and argument images")
    if place is not None and rules is not None and PLACE not in rules:
        raise UserError("argument place: is for the rule place, which is not among argument rules; leave one of them out")
    if images is not None:
        existing_folder(Path(images))
    if in_dir.is_file():
        raise UserError(f"{in_dir}: a file; give the folder of predictions, in which dataset.json says what the values mean")
    if not (in_dir / FILE_NAME).is_file():
        raise UserError(f"{in_dir}: no dataset.json, which says what the values mean; nnUNetv2_predict puts it there, copy it")
    dataset_json = read_dataset_json(in_dir / FILE_NAME, NEEDED)
    files = {case: case + dataset_json.file_ending for case in identifiers(in_dir, dataset_json.file_ending)}
    if not files:
        raise UserError(f"{in_dir}: no file ends in {dataset_json.file_ending}, the `file_ending` of its dataset.json")
    written = [out_dir / name for name in (*files.values(), *COPIED, EFFECTS_FILE)]
    # Older releases kept no record, and wrote the effects last.
    made_here = (out_dir / _RECORD_FILE).is_file() or _are_effects(out_dir / EFFECTS_FILE)
    check_may_write(written, made_here=made_here, way_out="give another folder", label_maps=True, where=out_dir)
    for line in of_another_ending(in_dir, dataset_json.file_ending):
        report(f"note: {line}")
    reader = reader_for(dataset_json, [in_dir / file for file in files.values()])
    annotation = dataset_json.annotation
    how, learned = [_rules_text(rules)], None
    if place is not None:
        learned = CTPlace.read(Path(place), dataset_json)
        how.append(learned.digest)
    jobs = {}
    for case, file in files.items():
        its_images = () if images is None else _images_of(Path(images), case, dataset_json)
        states = [file_state(path) for path in (in_dir / file, *its_images)]
        made_from = digest(states, how, dataset_json.content, reader.name)
        jobs[case] = CleaningJob(in_dir / file, out_dir / file, reader, annotation, rules, made_from, learned, its_images)
    return jobs, how


def _images_of(folder: Path, case: str, dataset_json: DatasetJson) -> tuple[Path, ...]:
    """Files of a case's channels, or the one with all of them."""
    channels = [folder / f"{case}_{number:04d}{dataset_json.file_ending}" for number in range(len(dataset_json.channel_names))]
    return tuple(channels if all(file.is_file() for file in channels) else channels[:1])


def _rules_text(rules: Sequence[str] | None) -> str:
    """The rules that are applied, and whose they are: another release may clean otherwise."""
    return f"{__version__}: {' '.join(rule for rule in RULES if rules is None or rule in rules)}"


def clean_case(job: CleaningJob) -> Effects:
    """Clean one prediction; where its image says nothing of place, the effects do not have that rule."""
    read, properties = job.reader.read_seg(str(job.in_file))
    label_map = checked_label_map(read, job.annotation, str(job.in_file))
    place = None if job.place is None else job.place.of_files(job.images, job.reader, label_map.shape, properties)
    cleaned, effects = clean_label_map(
        label_map,
        properties["spacing"],
        dict(zip(job.annotation.classes, job.annotation.values)),
        job.rules,
        parents=nesting_of(job.annotation),
        axes=array_axes(label_map.shape, properties),
        place=place,
    )
    if job.place is not None and (place is None or place.is_silent):
        effects.pop(PLACE, None)
    job.reader.write_seg(cleaned, job.out_file, properties)
    return effects


def total_effects(cleaned: Outcome[Effects]) -> Effects:
    """Rule -> class -> voxels removed and moved and the number of cases changed, in the order of the rules."""
    totals: Effects = {}
    for rule in RULES:
        for effects in cleaned.done.values():
            for name, counts in effects.get(rule, {}).items():
                total = totals.setdefault(rule, {}).setdefault(name, {"cases": 0, "removed": 0, "moved": 0})
                for what, count in {"cases": 1, **counts}.items():
                    total[what] += count
    return totals


def effects_table(cleaned: Outcome[Effects]) -> str:
    """What each rule changed, over all cases."""
    rows = [
        [rule, name, *map(str, total.values())]
        for rule, classes in total_effects(cleaned).items()
        for name, total in classes.items()
    ]
    if not rows:
        return f"{amount(len(cleaned.done), 'case')}, nothing to clean\n"
    lines = aligned([["rule", "class", "cases", "removed", "moved"], *rows], left=2, last_is_total=False)
    return "\n".join([f"{amount(len(cleaned.done), 'case')}; voxels removed, and moved to another class", *lines]) + "\n"


def _copy_descriptions(in_dir: Path, out_dir: Path) -> None:
    """Copy what belongs to the label maps."""
    for name in COPIED:
        if (in_dir / name).is_file():
            with written_beside(out_dir / name) as beside:
                shutil.copyfile(in_dir / name, beside)


def _are_effects(path: Path) -> bool:
    """Whether a file is what this command writes last."""
    content = read_json(path)
    return isinstance(content, dict) and {"all_cases", "cases"} <= content.keys()


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Whether these are effects of a case, as its record keeps them."""
    effects = facts.get("effects")
    classes = list(effects.values()) if isinstance(effects, dict) else [None]
    counts = [count for each in classes for count in (each.values() if isinstance(each, dict) else [None])]
    return all(isinstance(count, dict) and {"removed", "moved"} == count.keys() for count in counts)
