"""nnU-Net's format of results (summary.json), and its function for the final validation with partial annotation.

nnU-Net names a class by its stored value or its region, a tuple of values, as `labels` of dataset.json gives it. A union
is named by the tuple of its values. A case that is not scored on a class holds nan for it, so that nnU-Net's own
readers find every class in every case.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.configuration import default_num_processes
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_cdpd.annotation import POSITIVE, Annotation, dataset_json_entries, read_annotation
from nnunetv2_cdpd.datasets.predictions import identifiers
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.case import ScoringJob, score_case
from nnunetv2_cdpd.evaluation.metrics import OVERLAP_METRICS
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PROTOCOLS
from nnunetv2_cdpd.evaluation.results import CaseScores, Results, counted_in_mean, mean_of_finite
from nnunetv2_cdpd.evaluation.scoring import scores_of
from nnunetv2_cdpd.jobs import in_processes, run, written_beside

Region = int | tuple[int, ...]


def compute_annotated_metrics_on_folder(
    folder_ref: str,
    folder_pred: str,
    output_file: str | None,
    image_reader_writer: BaseReaderWriter,
    file_ending: str,
    regions_or_labels: Sequence[Region],
    ignore_label: int | None = None,
    num_processes: int = default_num_processes,
    chill: bool = True,
    *,
    annotation: Annotation,
) -> dict[str, Any]:
    """nnU-Net's compute_metrics_on_folder, counting in each case only what its source annotates; no surface metrics.

    Args:
        output_file: summary.json to write; None: none.
        regions_or_labels: nnU-Net's, one for each class of the annotation: regions in its order, or labels in any.
        ignore_label: Not used; the annotation knows it.
        chill: False: every reference needs a prediction.
        annotation: Of the dataset that both folders belong to.

    Returns:
        nnU-Net's dict: metric_per_case, mean, foreground_mean, in which a class or union that no case is scored on is nan; and
        a `cdpd` entry: names of the classes, and for each source number of cases, means by class ("not annotated" where no
        case is scored) and foreground_mean.

    Raises:
        UserError: No prediction, one is missing, or a case could not be scored.
    """
    predicted, references = (identifiers(Path(folder), file_ending) for folder in (folder_pred, folder_ref))
    missing = [] if chill else [case for case in references if case not in predicted]
    if missing or not predicted:
        raise UserError(f"{folder_pred}: no prediction for {', '.join(missing) or 'any case'}; predict the validation cases")
    alone = replace(annotation, case_source=None)  # the jobs need not carry the list of cases
    jobs = {
        case: ScoringJob(
            case,
            os.path.join(folder_ref, case + file_ending),
            os.path.join(folder_pred, case + file_ending),
            image_reader_writer,
            reference=alone,
            source=annotation.source_index(case),
            prediction=alone,
            tolerance_mm=None,
            strict=False,  # after days of training no label map is refused that was trained on
        )
        for case in predicted
    }
    outcome = run(jobs, in_processes(score_case, num_processes), title="evaluate", progress=False)
    if outcome.failed:
        raise UserError("; ".join(f"case {case!r}: {reason}" for case, reason in outcome.failed.items()))
    scores = scores_of(jobs, outcome)
    keys = _keys(annotation, regions_or_labels, annotation.column_names)
    in_order = [scores[case] for case in predicted]
    summary = _summary(in_order, annotation, keys, OVERLAP_METRICS)
    summary["cdpd"] = {
        "version": 1,
        "classes": {str(key): name for name, key in keys.items()},
        "sources": {
            source.name: _of_source([case for case in in_order if case.source == source.name], annotation, keys)
            for source in annotation.sources
        },
    }
    if output_file is not None:
        write_summary(summary, Path(output_file))
    return summary


def summary_of(results: Results, labels: Mapping[str, Any]) -> dict[str, Any]:
    """nnU-Net's summary of results, and a `cdpd` entry with names, sources and what nnU-Net has no place for.

    Args:
        labels: Of the reference's dataset.json.
    """
    regions = [tuple(labels[name]) if isinstance(labels[name], list) else labels[name] for name in results.reference.classes]
    keys = _keys(results.reference, regions, results.class_names)
    return {
        **_summary(results.cases, results.reference, keys, results.protocol.metrics),
        "cdpd": {
            "version": 1,
            "protocol": results.protocol.name,
            "tolerance_mm": results.tolerance_mm,
            "classes": {str(key): name for name, key in keys.items()},
            # as text, because nnU-Net sorts all keys when it writes, and the order of labels counts
            "reference": json.dumps(dataset_json_entries(results.reference)),
            "prediction": json.dumps(dataset_json_entries(results.prediction)),
            "all_sources": _by_name(results, None),
            "sources": {source: _by_name(results, source) for source in results.source_names},
            "problems": dict(results.problems),
        },
    }


def read_results(path: str | os.PathLike) -> Results:
    """Results from the summary.json that `cdpd evaluate` wrote.

    Raises:
        UserError: The file cannot be read or was written by nnU-Net, which does not say what is annotated.
    """
    try:
        with open(path, encoding="utf-8") as file:
            summary = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); run `cdpd evaluate`") from error
    if not isinstance(summary, dict) or "reference" not in summary.get("cdpd", ()):
        raise UserError(f"{path}: not written by `cdpd evaluate`; run it on the predictions")
    ours = summary["cdpd"]
    cases = [
        CaseScores(
            case["case"],
            case["source"],
            case["reference_file"],
            case["prediction_file"],
            {ours["classes"][key]: scores for key, scores in case["metrics"].items() if not math.isnan(scores["n_ref"])},
        )
        for case in summary["metric_per_case"]
    ]
    reference, prediction = (read_annotation(json.loads(ours[side])) for side in ("reference", "prediction"))
    protocol = PROTOCOLS[ours.get("protocol", NNUNET.name)]  # files of version 0.1 do not say
    return Results(reference, prediction, tuple(cases), ours["tolerance_mm"], ours["problems"], protocol)


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write summary.json with nnU-Net's own function."""
    # Imported here: it imports torch, which the processes that score cases without surface metrics do not need.
    from nnunetv2.evaluation.evaluate_predictions import save_summary_json

    with written_beside(path) as beside:
        save_summary_json(dict(summary), str(beside))


def _keys(annotation: Annotation, regions: Sequence[Region], names: Sequence[str]) -> dict[str, Region]:
    """nnU-Net's key of each class, and the values of each union among the names that some source is scored on."""
    if len(regions) != len(annotation.classes):
        raise ValueError(f"{len(regions)} regions or labels for the {len(annotation.classes)} classes {annotation.classes}")
    # nnU-Net lists plain labels by value, regions in the order of `labels`, which is that of the classes
    plain = all(isinstance(region, Integral) for region in regions)
    keys: dict[str, Region] = dict(zip(annotation.classes, annotation.values if plain else regions))
    positive = (annotation.tables == POSITIVE).any(0)
    for column, name in enumerate(annotation.column_names):
        if name in names and name not in keys and positive[:, column].any():
            key = tuple(np.flatnonzero(positive[:, column]).tolist())
            while key in keys.values():  # a class with the same values: say the last one twice, the same set
                key += key[-1:]
            keys[name] = key
    return keys


def _summary(
    cases: Sequence[CaseScores], annotation: Annotation, keys: Mapping[str, Region], metrics: Sequence[str]
) -> dict[str, Any]:
    not_scored = dict.fromkeys(metrics, math.nan)
    means = {
        name: {metric: mean_of_finite(case.metrics.get(name, not_scored)[metric] for case in cases) for metric in metrics}
        for name in keys
    }
    scored = {name for case in cases for name in case.metrics}
    counted = counted_in_mean(annotation, scored)
    return {
        "metric_per_case": [
            {
                "case": case.case,
                "source": case.source,
                "reference_file": case.reference_file,
                "prediction_file": case.prediction_file,
                "metrics": {key: dict(case.metrics.get(name, not_scored)) for name, key in keys.items()},
            }
            for case in cases
        ],
        "mean": {key: means[name] for name, key in keys.items()},
        "foreground_mean": {metric: mean_of_finite(means[name][metric] for name in counted) for metric in metrics},
    }


def _of_source(cases: Sequence[CaseScores], annotation: Annotation, keys: Mapping[str, Region]) -> dict[str, Any]:
    """Means of one source's cases by class name."""
    summary = _summary(cases, annotation, keys, OVERLAP_METRICS)
    scored = {name for case in cases for name in case.metrics}
    return {
        "cases": len(cases),
        "classes": {name: summary["mean"][key] if name in scored else "not annotated" for name, key in keys.items()},
        "foreground_mean": summary["foreground_mean"],
    }


def _by_name(results: Results, source: str | None) -> dict[str, Any]:
    classes = {}
    for name in results.class_names:
        summary = results.summary(name, source)
        counts = {"cases": summary.cases, "present": summary.present, "missed": summary.missed, "spurious": summary.spurious}
        interval = {"Dice_interval": list(summary.dice_interval)}
        classes[name] = {**counts, **summary.means, **interval} if summary.cases else "not annotated"
    return {
        "cases": len(results.cases_of(source)),
        "classes": classes,
        "foreground_mean": {metric: results.foreground_mean(metric, source) for metric in results.protocol.metrics}
        | {"Dice_interval": list(results.foreground_dice_interval(source))},
    }
