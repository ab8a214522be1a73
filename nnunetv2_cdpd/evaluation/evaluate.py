"""evaluate_folder: scores of a folder of predictions against a folder of references, written as JSON, CSV and text."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes
from nnunetv2.paths import nnUNet_raw
from tqdm import tqdm

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, DatasetJson, find_dataset, read_dataset_json
from nnunetv2_cdpd.datasets.predictions import NEEDED, identifiers, reader_for
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.case import ScoringJob, score_case
from nnunetv2_cdpd.evaluation.compare import Comparison, compare_results
from nnunetv2_cdpd.evaluation.metrics import DEFAULT_TOLERANCE_MM
from nnunetv2_cdpd.evaluation.nnunet import summary_of, write_summary
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PROTOCOLS
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.tables import comparison_csv, comparison_json, comparison_table, csv_text, text_table
from nnunetv2_cdpd.jobs import in_processes, write_json, write_text

SUMMARY_FILE, CSV_FILE, TEXT_FILE = "summary.json", "metrics.csv", "summary.txt"
COMPARISON_JSON, COMPARISON_CSV, COMPARISON_TEXT = "comparison.json", "comparison.csv", "comparison.txt"
FULLY_ANNOTATED = "fully annotated"  # source of the cases that no source of the dataset.json knows


@dataclass(frozen=True)
class _Labels:
    """A dataset.json, and what it says with the sources that the user added."""

    dataset_json: DatasetJson
    annotation: Annotation

    @property
    def path(self) -> Path:
        return self.dataset_json.path

    @property
    def file_ending(self) -> str:
        return self.dataset_json.file_ending


def evaluate_folder(
    pred_dir: str | Path,
    gt_dir: str | Path,
    *,
    dataset_json: str | int | Path | None = None,
    output: str | Path | None = None,
    protocol: str = NNUNET.name,
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
        protocol: Name in `PROTOCOLS`.
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
    options = {"protocol": protocol, "tolerance_mm": tolerance_mm, "num_processes": num_processes, "progress": progress}
    reference = _reference(gt_dir, dataset_json, fully_annotated)
    results = _score_folder(pred_dir, gt_dir, reference, allow_missing, report, **options)
    _write(results, reference.dataset_json.content["labels"], Path(output) if output else pred_dir)
    return results


def compare_folders(
    pred_dir: str | Path,
    other_dir: str | Path,
    gt_dir: str | Path,
    *,
    dataset_json: str | int | Path | None = None,
    output: str | Path | None = None,
    protocol: str = NNUNET.name,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    num_processes: int | None = None,
    allow_missing: bool = False,
    fully_annotated: bool = False,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Comparison:
    """`evaluate_folder` of a folder of predictions, and its comparison with another folder of predictions.

    Args:
        other_dir: The other predictions, scored by the same rules; nothing is written there.
        output: Also for comparison.json, comparison.csv and comparison.txt.

    Raises:
        UserError: As `evaluate_folder`, or the two folders have no case in common.
    """
    pred_dir, other_dir, gt_dir = Path(pred_dir), Path(other_dir), Path(gt_dir)
    if pred_dir.resolve() == other_dir.resolve():
        raise UserError(f"--compare {other_dir}: these are the predictions themselves; give those of another model")
    options = {"protocol": protocol, "tolerance_mm": tolerance_mm, "num_processes": num_processes, "progress": progress}
    reference = _reference(gt_dir, dataset_json, fully_annotated)
    results = _score_folder(pred_dir, gt_dir, reference, allow_missing, report, **options)
    other = _score_folder(other_dir, gt_dir, reference, allow_missing, report, **options)
    comparison = compare_results(results, other)
    folder = Path(output) if output else pred_dir
    _write(results, reference.dataset_json.content["labels"], folder)
    names = str(pred_dir), str(other_dir)
    write_json(folder / COMPARISON_JSON, comparison_json(comparison, *names))
    write_text(folder / COMPARISON_CSV, comparison_csv(comparison))
    write_text(folder / COMPARISON_TEXT, comparison_table(comparison, *names))
    return comparison


def _score_folder(
    pred_dir: Path,
    gt_dir: Path,
    reference: _Labels,
    allow_missing: bool,
    report: Callable[[str], None],
    *,
    protocol: str,
    tolerance_mm: float,
    num_processes: int | None,
    progress: bool,
) -> Results:
    if not tolerance_mm >= 0:
        raise UserError(f"tolerance {tolerance_mm} mm: a distance is not negative")
    if protocol not in PROTOCOLS:
        raise UserError(f"no protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    prediction = reference
    if (pred_dir / FILE_NAME).is_file():
        read = read_dataset_json(pred_dir / FILE_NAME, NEEDED)
        prediction = _Labels(read, read.annotation)
    cases = _cases(pred_dir, gt_dir, reference, allow_missing, report)
    ending = reference.file_ending
    reader = reader_for(reference.dataset_json, [gt_dir / f"{case}{ending}" for case in cases])
    # the jobs need not carry the list of cases
    annotations = [replace(labels.annotation, case_source=None) for labels in (reference, prediction)]
    jobs = [
        ScoringJob(
            case,
            os.path.abspath(gt_dir / f"{case}{ending}"),  # `cdpd report` may run elsewhere
            os.path.abspath(pred_dir / f"{case}{ending}"),
            reader,
            reference=annotations[0],
            source=_source_index(reference, case),
            prediction=annotations[1],
            tolerance_mm=tolerance_mm,
            protocol=PROTOCOLS[protocol],
        )
        for case in cases
    ]
    results = _score(jobs, _num_processes(num_processes, len(jobs)), progress)
    if results.unknown_classes:
        report(f"note: not scored, because {prediction.path} does not list them: {', '.join(results.unknown_classes)}")
    return results


def _score(jobs: list[ScoringJob], num_processes: int, progress: bool) -> Results:
    scores, problems = {}, {}
    outcomes = in_processes(score_case, num_processes)(jobs)
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
        jobs[0].protocol,
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _num_processes(given: int | None, num_cases: int) -> int:
    if given is not None and given < 1:
        raise UserError(f"{given} processes: give at least 1")
    return given or max(1, min(default_num_processes, os.cpu_count() or 1, num_cases // 4))


# ---- what there is to score ------------------------------------------------------------------------------------------


def _reference(gt_dir: Path, given: str | int | Path | None, fully_annotated: bool) -> _Labels:
    """Labels of the references; with one source more, last, that annotates every class, for cases of no source."""
    dataset_json = read_dataset_json(_reference_json(gt_dir, given), NEEDED)
    annotation = dataset_json.annotation
    if not fully_annotated or (annotation.case_source is None and len(annotation.sources) == 1):
        return _Labels(dataset_json, annotation)  # the only source is that of every case
    sources = (*annotation.sources, Source(FULLY_ANNOTATED, annotation.classes))
    return _Labels(dataset_json, replace(annotation, sources=sources, case_source=annotation.case_source or {}))


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


def _source_index(reference: _Labels, case: str) -> int:
    annotation = reference.annotation
    if annotation.case_source is None or case in annotation.case_source:
        return annotation.source_index(case)
    if annotation.sources[-1].name == FULLY_ANNOTATED:
        return len(annotation.sources) - 1
    raise UserError(
        f"case {case!r} is in no source of {reference.path}; give the dataset.json that lists it with --dataset, or "
        "--fully-annotated if the reference holds every class wherever it occurs"
    )


def _cases(pred_dir: Path, gt_dir: Path, reference: _Labels, allow_missing: bool, report: Callable[[str], None]) -> list[str]:
    """Identifiers of the cases with a reference and a prediction."""
    ending = reference.file_ending
    predicted, references = identifiers(pred_dir, ending), identifiers(gt_dir, ending)
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


def _listed(cases: list[str]) -> str:
    return ", ".join(cases[:10]) + (f" and {len(cases) - 10} more" if len(cases) > 10 else "")


# ---- writing ---------------------------------------------------------------------------------------------------------


def _write(results: Results, labels: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (COMPARISON_JSON, COMPARISON_CSV, COMPARISON_TEXT):  # of other results
        (folder / name).unlink(missing_ok=True)
    write_summary(summary_of(results, labels), folder / SUMMARY_FILE)
    write_text(folder / CSV_FILE, csv_text(results))
    write_text(folder / TEXT_FILE, text_table(results))
