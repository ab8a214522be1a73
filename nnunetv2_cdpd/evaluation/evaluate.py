"""evaluate_folder: scores of a folder of predictions against a folder of references, written as JSON, CSV and text."""

import contextlib
import io
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping

from nnunetv2.configuration import default_num_processes
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from tqdm import tqdm

from nnunetv2_cdpd.annotation import Annotation, Source, read_annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.case import CaseJob, score_case
from nnunetv2_cdpd.evaluation.metrics import DEFAULT_TOLERANCE_MM
from nnunetv2_cdpd.evaluation.nnunet import summary_of, write_summary
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.tables import csv_text, text_table
from nnunetv2_cdpd.merge.inputs import find_dataset
from nnunetv2_cdpd.merge.processes import run_jobs

SUMMARY_FILE, CSV_FILE, TEXT_FILE = "summary.json", "metrics.csv", "summary.txt"
FULLY_ANNOTATED = "fully annotated"  # source of the cases that no source of the dataset.json knows


@dataclass(frozen=True)
class Labels:
    """A dataset.json and what it says."""

    path: Path
    dataset_json: Mapping[str, Any]
    annotation: Annotation


def evaluate_folder(
    pred_dir: str | Path,
    gt_dir: str | Path,
    *,
    dataset_json: str | int | Path | None = None,
    output: str | Path | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    num_processes: int | None = None,
    allow_missing: bool = False,
    fully_annotated: bool = False,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Results:
    """Score every case of a folder on the classes that its source annotates.

    Args:
        pred_dir: Predicted label maps; their labels are those of the dataset.json in it, where there is one.
        gt_dir: Reference label maps.
        dataset_json: Of the reference: an id, name or folder of a raw dataset, or a file; None: the one in `gt_dir` or
            in the folder above.
        output: Folder for summary.json, metrics.csv and summary.txt; None: `pred_dir`.
        tolerance_mm: Of the surface Dice.
        num_processes: With 1 everything runs in this process; None: nnU-Net's default, at most one per core and per
            4 cases, because a process takes seconds to start.
        allow_missing: Score the cases that are there, although references without a prediction remain.
        fully_annotated: Take every class as annotated in a case that `case_source` of the dataset.json does not list.
        progress: Show a progress bar.
        report: Called with each note.

    Returns:
        Results; `problems` names the cases that could not be scored.

    Raises:
        UserError: A folder or file is missing or damaged, or no case could be scored.
    """
    pred_dir, gt_dir = Path(pred_dir), Path(gt_dir)
    if not tolerance_mm >= 0:
        raise UserError(f"tolerance {tolerance_mm} mm: a distance is not negative")
    reference = _read_labels(_reference_json(gt_dir, dataset_json))
    prediction = _read_labels(pred_dir / "dataset.json") if (pred_dir / "dataset.json").is_file() else reference
    if fully_annotated:
        reference = replace(reference, annotation=_with_full_source(reference.annotation))
    cases = _cases(pred_dir, gt_dir, reference, allow_missing, report)
    sources = {case: _source_index(reference, case, fully_annotated) for case in cases}
    ending = reference.dataset_json["file_ending"]
    reader = _reader(reference, gt_dir / f"{cases[0]}{ending}")
    # the jobs need not carry the list of cases
    annotations = [replace(labels.annotation, case_source=None) for labels in (reference, prediction)]
    jobs = [
        CaseJob(
            case,
            str(gt_dir / f"{case}{ending}"),
            str(pred_dir / f"{case}{ending}"),
            reader,
            reference=annotations[0],
            source=sources[case],
            prediction=annotations[1],
            tolerance_mm=tolerance_mm,
        )
        for case in cases
    ]
    results = _score(jobs, _num_processes(num_processes, len(jobs)), progress)
    if results.unknown_classes:
        report(f"note: not scored, because {prediction.path} does not list them: {', '.join(results.unknown_classes)}")
    _write(results, reference.dataset_json["labels"], Path(output) if output else pred_dir)
    return results


def _score(jobs: list[CaseJob], num_processes: int, progress: bool) -> Results:
    scores, problems = {}, {}
    outcomes = run_jobs(score_case, jobs, num_processes)
    for job, outcome in tqdm(outcomes, desc="evaluate", total=len(jobs), unit="case", disable=not progress):
        if isinstance(outcome, Exception):
            problems[job.identifier] = _one_line(outcome)
        else:
            source = job.reference.sources[job.source].name
            scores[job.identifier] = CaseScores(job.identifier, source, job.reference_file, job.prediction_file, outcome)
    if not scores:
        first = min(problems)
        raise UserError(f"none of {len(jobs)} cases could be scored; case {first!r}: {problems[first]}")
    if not any(case.metrics for case in scores.values()):
        raise UserError(
            f"no class to score: the reference has {', '.join(jobs[0].reference.classes)}, the prediction "
            f"{', '.join(jobs[0].prediction.classes)}; classes are matched by name, give the dataset.json that belongs to each"
        )
    return Results(
        jobs[0].reference,
        jobs[0].prediction,
        tuple(scores[case] for case in sorted(scores)),
        jobs[0].tolerance_mm,
        {case: problems[case] for case in sorted(problems)},
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _num_processes(given: int | None, num_cases: int) -> int:
    if given is not None and given < 1:
        raise UserError(f"{given} processes: give at least 1")
    return given or max(1, min(default_num_processes, os.cpu_count() or 1, num_cases // 4))


# ---- what there is to score ------------------------------------------------------------------------------------------


def _reference_json(gt_dir: Path, given: str | int | Path | None) -> Path:
    if given is None:
        beside = [gt_dir / "dataset.json", gt_dir.parent / "dataset.json"]
        found = next((path for path in beside if path.is_file()), None)
        if found is None:
            raise UserError(f"{gt_dir}: no dataset.json here or in the folder above; give it with --dataset")
        return found
    if str(given).endswith(".json"):
        return Path(given).expanduser()
    raw_folder = nnUNet_raw.require() if nnUNet_raw.is_set() else None
    if raw_folder is None and not (Path(str(given)).expanduser() / "dataset.json").is_file():
        raise UserError(f"--dataset {given}: not a folder with a dataset.json, and nnUNet_raw is not set; set it or give a file")
    return find_dataset(given, Path(raw_folder or ".")) / "dataset.json"


def _read_labels(path: Path) -> Labels:
    try:
        dataset_json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); give another file") from error
    if not isinstance(dataset_json, dict) or not isinstance(dataset_json.get("file_ending"), str):
        raise UserError(f"{path}: no `file_ending`; is it a dataset.json of nnU-Net v2?")
    try:
        return Labels(path, dataset_json, read_annotation(dataset_json))
    except UserError as error:
        raise UserError(str(error).replace("dataset.json", str(path), 1)) from error


def _with_full_source(annotation: Annotation) -> Annotation:
    """The annotation with one source more, last, that annotates every class."""
    return replace(annotation, sources=(*annotation.sources, Source(FULLY_ANNOTATED, annotation.classes)))


def _source_index(reference: Labels, case: str, fully_annotated: bool) -> int:
    annotation = reference.annotation
    if annotation.case_source is None or case in annotation.case_source:
        return annotation.source_index(case)
    if fully_annotated:
        return len(annotation.sources) - 1
    raise UserError(
        f"case {case!r} is in no source of {reference.path}; give the dataset.json that lists it with --dataset, or "
        "--fully-annotated if the reference holds every class wherever it occurs"
    )


def _cases(
    pred_dir: Path, gt_dir: Path, reference: Labels, allow_missing: bool, report: Callable[[str], None]
) -> list[str]:
    """Identifiers of the cases with a reference and a prediction."""
    ending = reference.dataset_json["file_ending"]
    predicted, references = _identifiers(pred_dir, ending), _identifiers(gt_dir, ending)
    if not references:
        raise UserError(
            f"{gt_dir}: no file ends in {ending}, the `file_ending` of {reference.path}; give another folder or --dataset"
        )
    common = [case for case in references if case in set(predicted)]
    if not common:
        raise UserError(f"{pred_dir}: no prediction {references[0]}{ending} or of another case of {gt_dir}; give another folder")
    missing = [case for case in references if case not in set(predicted)]
    if missing and not allow_missing:
        raise UserError(
            f"{pred_dir}: {len(missing)} of {len(references)} cases have no prediction: {_listed(missing)}; predict them, or "
            "give --allow-missing to score the others"
        )
    if missing:
        report(f"note: {len(missing)} of {len(references)} cases have no prediction and are not scored: {_listed(missing)}")
    extra = [case for case in predicted if case not in set(references)]
    if extra:
        report(f"note: {len(extra)} predictions have no reference and are not scored: {_listed(extra)}")
    return common


def _identifiers(folder: Path, ending: str) -> list[str]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    return sorted(name[: -len(ending)] for name in os.listdir(folder) if name.endswith(ending) and not name.startswith("."))


def _listed(cases: list[str]) -> str:
    return ", ".join(cases[:10]) + (f" and {len(cases) - 10} more" if len(cases) > 10 else "")


def _reader(reference: Labels, example: Path) -> BaseReaderWriter:
    """nnU-Net's reader for the files; it tries to open one of them."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(RuntimeError):
        return determine_reader_writer_from_dataset_json(dict(reference.dataset_json), str(example), verbose=False)()
    raise UserError(
        f"{example}: nnU-Net has no reader for {reference.dataset_json['file_ending']} that opens it; is the file damaged?"
    )


# ---- writing ---------------------------------------------------------------------------------------------------------


def _write(results: Results, labels: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_summary(summary_of(results, labels), str(folder / SUMMARY_FILE))
    for name, text in ((CSV_FILE, csv_text(results)), (TEXT_FILE, text_table(results))):
        beside = folder / f"{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, folder / name)
