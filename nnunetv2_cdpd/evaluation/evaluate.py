"""evaluate_folder: scores of a folder of predictions against a folder of references, written as JSON, CSV and text."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.datasets.predictions import existing_folder
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.compare import Comparison, compare_results
from nnunetv2_cdpd.evaluation.folders import LabelledFolder, check_roles
from nnunetv2_cdpd.evaluation.nesting import joined_nesting, nested_alike
from nnunetv2_cdpd.evaluation.nnunet import summary_of, write_summary
from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.evaluation.scoring import EvaluationOptions, score_folder
from nnunetv2_cdpd.evaluation.tables import comparison_csv, comparison_json, comparison_table, csv_text, text_table
from nnunetv2_cdpd.jobs import output_folder, read_json, write_json, write_text
from nnunetv2_cdpd.jobs.files import real_path

SUMMARY_FILE, CSV_FILE, TEXT_FILE = "summary.json", "metrics.csv", "summary.txt"
COMPARISON_JSON, COMPARISON_CSV, COMPARISON_TEXT = "comparison.json", "comparison.csv", "comparison.txt"


def evaluate_folder(
    pred_dir: str | Path,
    gt_dir: str | Path,
    *,
    dataset_json: str | int | Path | None = None,
    output: str | Path | None = None,
    options: EvaluationOptions = EvaluationOptions(),
) -> Results:
    """Score every case of a folder on the classes that its source annotates.

    Args:
        pred_dir: Predicted label maps; their labels are those of the dataset.json in it, where there is one.
        gt_dir: Reference label maps.
        dataset_json: Of the reference: an id, name or folder of a raw dataset, or a file; None: the one in `gt_dir` or
            in the folder above.
        output: Folder for summary.json, metrics.csv and summary.txt; None: `pred_dir`.

    Returns:
        Results; `problems` names the cases that could not be scored.

    Raises:
        UserError: A folder or file is missing or damaged, the folders are exchanged, files would be replaced that are not of
            such results, or no case could be scored.
    """
    check_roles(Path(pred_dir), Path(gt_dir))
    _check_output(Path(output or pred_dir))
    references = LabelledFolder.of_references(Path(gt_dir), dataset_json, options.fully_annotated)
    with _results_folder(output, pred_dir) as folder:
        results = score_folder(Path(pred_dir), references, options)
        _write(results, references.dataset_json.content["labels"], folder)
    return results


def compare_folders(
    pred_dir: str | Path,
    other_dir: str | Path,
    gt_dir: str | Path,
    *,
    dataset_json: str | int | Path | None = None,
    output: str | Path | None = None,
    options: EvaluationOptions = EvaluationOptions(),
) -> Comparison:
    """`evaluate_folder` of a folder of predictions, and its comparison with another folder of predictions.

    Args:
        other_dir: The other predictions, scored by the same rules; nothing is written there.
        output: Also for comparison.json, comparison.csv and comparison.txt.

    Raises:
        UserError: As `evaluate_folder`, or the two folders have no case in common.
    """
    if real_path(Path(pred_dir)) == real_path(Path(other_dir)):
        raise UserError(f"argument other_dir {other_dir}: these are the predictions themselves; give those of another model")
    for predicted in (pred_dir, other_dir):
        check_roles(Path(predicted), Path(gt_dir))
    _check_output(Path(output or pred_dir))
    references = LabelledFolder.of_references(Path(gt_dir), dataset_json, options.fully_annotated)
    for predicted in (pred_dir, other_dir, pred_dir):  # what one of them has lie in a class counts for it in the other, too
        predictions = LabelledFolder.of_predictions(Path(predicted), references)
        alike = nested_alike(references.annotation, predictions.annotation)
        references = replace(references, annotation=alike.reference, nested=joined_nesting(references.nested, alike.nested))
    with _results_folder(output, pred_dir) as folder:
        results, others = (score_folder(Path(predicted), references, options) for predicted in (pred_dir, other_dir))
        comparison = compare_results(results, others)
        _write(results, references.dataset_json.content["labels"], folder)
        names = str(pred_dir), str(other_dir)
        write_json(folder / COMPARISON_JSON, comparison_json(comparison, *names))
        write_text(folder / COMPARISON_CSV, comparison_csv(comparison))
        write_text(folder / COMPARISON_TEXT, comparison_table(comparison, *names))
    return comparison


def _check_output(folder: Path) -> None:
    """Raise UserError if results in a folder would take the place of others' files; summary.json comes first, and says so."""
    summary = read_json(folder / SUMMARY_FILE)
    files = (SUMMARY_FILE, CSV_FILE, TEXT_FILE, COMPARISON_JSON, COMPARISON_CSV, COMPARISON_TEXT)
    is_ours = isinstance(summary, dict) and "cdpd" in summary
    check_may_write([folder / name for name in files], made_here=is_ours, way_out="give argument output")


@contextmanager
def _results_folder(output: str | Path | None, pred_dir: str | Path) -> Iterator[Path]:
    """The folder of the results, held while they are made, so that no two are mixed there."""
    folder = existing_folder(Path(pred_dir)) if output is None else Path(output)
    with output_folder(folder):
        yield folder


def _write(results: Results, labels: Mapping[str, Any], folder: Path) -> None:
    for name in (COMPARISON_JSON, COMPARISON_CSV, COMPARISON_TEXT, CSV_FILE, TEXT_FILE):  # of other results
        (folder / name).unlink(missing_ok=True)
    write_summary(summary_of(results, labels), folder / SUMMARY_FILE)
    write_text(folder / CSV_FILE, csv_text(results))
    write_text(folder / TEXT_FILE, text_table(results))
