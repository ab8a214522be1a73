"""An evaluation as text, CSV and nnU-Net's summary.json."""

import csv
import json
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.evaluation.evaluate import METRICS, Evaluation

NOT_ANNOTATED = "not annotated"
_CASE_COLUMNS = ("Dice", "IoU", "HD95", "SurfaceDice", "TP", "FP", "FN", "TN", "n_ref", "n_pred")


def text_table(evaluation: Evaluation) -> str:
    """Classes x (cases, Dice, HD95, surface Dice) over all cases, then Dice per source where there are several."""
    names = evaluation.annotation.column_names
    scored = [name for name in names if len(evaluation.values(name, "Dice"))]
    rows = [["class", "cases", "Dice", "HD95 mm", f"surface Dice {evaluation.tolerance_mm:g} mm", "missed"]]
    for name in _shown(evaluation):
        if name not in scored:
            rows.append([name, "0", NOT_ANNOTATED, "", "", ""])
            continue
        distances = evaluation.values(name, "HD95")
        missed = int(np.isinf(distances).sum())
        numbers = [_number(evaluation.mean(name, metric), metric) for metric in METRICS]
        rows.append([name, str(len(distances)), *numbers, str(missed) if missed else ""])
    rows.append(["mean of classes", str(len(evaluation.cases)), *[_number(evaluation.mean_over_classes(m), m) for m in METRICS], ""])
    text = _align(rows)
    sources = sorted({case.source for case in evaluation.cases})
    if len(sources) > 1:
        per_source = [["Dice by source", *sources]]
        for name in [*scored, None]:
            cells = [evaluation.mean(name, "Dice", s) if name else evaluation.mean_over_classes("Dice", s) for s in sources]
            per_source.append([name or "mean of classes", *("" if np.isnan(cell) else f"{cell:.3f}" for cell in cells)])
        text += "\n\n" + _align(per_source)
    if any(row[-1] for row in rows[1:]):
        text += "\n\nmissed: cases with the class in only one of reference and prediction; they have Dice 0 and no finite HD95"
    return text


def write_results(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write summary.json, metrics.csv and metrics.txt, each beside and then renamed; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, write in (("summary.json", _write_summary), ("metrics.csv", _write_csv), ("metrics.txt", _write_text)):
        path = folder / name
        temporary = path.with_name(f".{name}.partial")
        write(evaluation, temporary)
        temporary.replace(path)
        written.append(path)
    return written


def _shown(evaluation: Evaluation) -> list[str]:
    """Every class, and the merged labels that some case is scored on."""
    annotation = evaluation.annotation
    unions = annotation.column_names[len(annotation.classes) :]
    return [*annotation.classes, *(name for name in unions if len(evaluation.values(name, "Dice")))]


def _write_text(evaluation: Evaluation, path: Path) -> None:
    path.write_text(text_table(evaluation) + "\n")


def _write_csv(evaluation: Evaluation, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "source", "class", *_CASE_COLUMNS])
        for case in evaluation.cases:
            for name, scores in case.scores.items():
                writer.writerow([case.case, case.source, name, *(scores[column] for column in _CASE_COLUMNS)])


def _write_summary(evaluation: Evaluation, path: Path) -> None:
    """nnU-Net's summary.json (its own load_summary_json reads it), with class names and sources added."""
    from nnunetv2.evaluation.evaluate_predictions import label_or_region_to_key

    from nnunetv2_cdpd.evaluation.nnunet import summary_keys

    annotation = evaluation.annotation
    regions = [region if len(region) > 1 else region[0] for region in annotation.regions]
    keys = dict(zip(annotation.column_names, map(label_or_region_to_key, summary_keys(annotation, regions))))
    metrics = [metric for metric in _CASE_COLUMNS]
    shown = _shown(evaluation)
    document = {
        "foreground_mean": {metric: evaluation.mean_over_classes(metric) for metric in metrics},
        "mean": {keys[name]: {metric: evaluation.mean(name, metric) for metric in metrics} for name in shown},
        "metric_per_case": [
            {
                "case": case.case,
                "source": case.source,
                "reference_file": str(case.reference_file),
                "prediction_file": str(case.prediction_file),
                "metrics": {keys[name]: scores for name, scores in case.scores.items()},
            }
            for case in evaluation.cases
        ],
        "classes": {keys[name]: name for name in shown},
        "mean_per_source": {
            source: {keys[name]: {metric: evaluation.mean(name, metric, source) for metric in METRICS} for name in shown}
            for source in sorted({case.source for case in evaluation.cases})
        },
        "failed": evaluation.failed,
        "surface_dice_tolerance_mm": evaluation.tolerance_mm,
    }
    path.write_text(json.dumps(document, indent=2))


def _number(value: float, metric: str) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.1f}" if metric == "HD95" else f"{value:.3f}"


def _align(rows: list[list[str]]) -> str:
    """Rows as columns; the first is left-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
