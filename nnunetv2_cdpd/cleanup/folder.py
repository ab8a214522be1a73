"""clean_folder: clean a folder of predictions, case by case, and tell what each rule changed."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.cleanup.clean import Effects, array_axes, clean_label_map, nesting_of
from nnunetv2_cdpd.cleanup.rules import RULES
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, read_dataset_json
from nnunetv2_cdpd.datasets.label_maps import checked_label_map
from nnunetv2_cdpd.datasets.predictions import NEEDED, identifiers, reader_for
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import in_processes, number_of_processes, run, write_json, written_beside
from nnunetv2_cdpd.jobs.tables import aligned

EFFECTS_FILE = "cleanup.json"
COPIED = ("dataset.json", "plans.json", "predict_from_raw_data_args.json")  # what nnUNetv2_predict puts beside predictions


@dataclass(frozen=True)
class CleanJob:
    """One prediction to clean."""

    in_file: Path
    out_file: Path
    reader: BaseReaderWriter
    annotation: Annotation
    rules: tuple[str, ...] | None


@dataclass(frozen=True)
class CleanedFolder:
    """What a clean-up did: the effects on each case, and the cases that could not be cleaned with the reason."""

    effects: Mapping[str, Effects]
    problems: Mapping[str, str]

    def totals(self) -> dict[tuple[str, str], dict[str, int]]:
        """(rule, class) -> voxels removed and moved and the number of cases changed, in the order of the rules."""
        totals: dict[tuple[str, str], dict[str, int]] = {}
        for rule in RULES:
            for effects in self.effects.values():
                for name, counts in effects.get(rule, {}).items():
                    total = totals.setdefault((rule, name), {"cases": 0, "removed": 0, "moved": 0})
                    total["cases"] += 1
                    total["removed"] += counts["removed"]
                    total["moved"] += counts["moved"]
        return totals


def clean_folder(
    in_dir: str | Path,
    out_dir: str | Path,
    *,
    rules: Sequence[str] | None = None,
    num_processes: int | None = None,
    progress: bool = True,
) -> CleanedFolder:
    """Clean every prediction of a folder.

    Args:
        in_dir: Predicted label maps with their dataset.json.
        out_dir: Gets the cleaned label maps under the same names, dataset.json and cleanup.json; another folder.
        rules: Names of rules; None: all.
        num_processes: None: nnU-Net's default, at most one per core and case.

    Raises:
        UserError: A folder or dataset.json is missing or damaged, a rule is unknown, or no case could be cleaned.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    if out_dir.resolve() == in_dir.resolve():
        raise UserError(f"{out_dir}: the cleaned predictions need a folder of their own, to be compared with the others")
    if unknown := [rule for rule in rules or () if rule not in RULES]:
        raise UserError(f"argument rules: no clean-up rule {', '.join(unknown)}; choose from {', '.join(RULES)}")
    if not (in_dir / "dataset.json").is_file():
        raise UserError(f"{in_dir}: no dataset.json, which says what the values mean; nnUNetv2_predict puts it there, copy it")
    labels = read_dataset_json(in_dir / FILE_NAME, NEEDED)
    cases = identifiers(in_dir, labels.file_ending)
    if not cases:
        raise UserError(f"{in_dir}: no file ends in {labels.file_ending}, the `file_ending` of its dataset.json")
    reader = reader_for(labels, [in_dir / (case + labels.file_ending) for case in cases])
    out_dir.mkdir(parents=True, exist_ok=True)
    chosen = None if rules is None else tuple(rules)
    files = {case: case + labels.file_ending for case in cases}
    jobs = {case: CleanJob(in_dir / file, out_dir / file, reader, labels.annotation, chosen) for case, file in files.items()}
    outcome = run(jobs, in_processes(clean_case, number_of_processes(num_processes, len(jobs))), title="clean", progress=progress)
    if not outcome.done:
        first = min(outcome.failed)
        raise UserError(f"none of {len(jobs)} cases could be cleaned; case {first!r}: {outcome.failed[first]}")
    for name in COPIED:
        if (in_dir / name).is_file():
            with written_beside(out_dir / name) as beside:
                shutil.copyfile(in_dir / name, beside)
    cleaned = CleanedFolder(dict(sorted(outcome.done.items())), dict(sorted(outcome.failed.items())))
    _write(cleaned, out_dir / EFFECTS_FILE)
    return cleaned


def clean_case(job: CleanJob) -> Effects:
    """Clean one prediction."""
    read, properties = job.reader.read_seg(str(job.in_file))
    label_map = checked_label_map(read, job.annotation, str(job.in_file))
    cleaned, effects = clean_label_map(
        label_map,
        properties["spacing"],
        dict(zip(job.annotation.classes, job.annotation.values)),
        job.rules,
        parents=nesting_of(job.annotation),
        axes=array_axes(label_map.shape, properties),
    )
    with written_beside(job.out_file) as beside:
        job.reader.write_seg(cleaned, str(beside), properties)
    return effects


def text_table(cleaned: CleanedFolder) -> str:
    """What each rule changed, over all cases."""
    rows = [[rule, name, *map(str, total.values())] for (rule, name), total in cleaned.totals().items()]
    if not rows:
        return f"{len(cleaned.effects)} cases, nothing to clean\n"
    lines = aligned([["rule", "class", "cases", "removed", "moved"], *rows], left=2, last_is_total=False)
    return "\n".join([f"{len(cleaned.effects)} cases; voxels removed, and moved to another class", *lines]) + "\n"


def _write(cleaned: CleanedFolder, path: Path) -> None:
    totals: dict[str, dict[str, dict[str, int]]] = {}
    for (rule, name), total in cleaned.totals().items():
        totals.setdefault(rule, {})[name] = total
    content = {"version": 1, "all_cases": totals, "cases": cleaned.effects, "problems": cleaned.problems}
    write_json(path, content)
