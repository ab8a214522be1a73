"""nnU-Net's format of results, summary.json, with partial annotation.

nnU-Net names a class by its stored value or its region, a tuple of values, as `labels` of dataset.json gives it. A union
is named by the tuple of its values. A case that is not scored on a class holds nan for it, so that nnU-Net's own
readers find every class in every case.
"""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import POSITIVE, Annotation, dataset_json_entries, read_annotation
from nnunetv2_cdpd.errors import UserError, listed, reason
from nnunetv2_cdpd.evaluation.protocols import NNUNET, PROTOCOLS
from nnunetv2_cdpd.evaluation.results import CLASS_COUNTS, CaseScores, Results, counted_in_mean, mean_of_finite, scored_on
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.jobs.shapes import NUMBER, SCORE, TEXT, Shape, check_shape, list_of, map_of, read_shaped, record

Region = int | tuple[int, ...]
_ABOUT_CASE = dict.fromkeys(("case", "source", "reference_file", "prediction_file"), TEXT)
PROTOCOL_NAME = Shape(f"one of {', '.join(PROTOCOLS)}", lambda value: isinstance(value, str) and value in PROTOCOLS)
_OURS = record(
    {
        "classes": map_of(TEXT, "an object of classes"),
        "reference": TEXT,
        "prediction": TEXT,
        "tolerance_mm": NUMBER,
        "problems": map_of(TEXT, "an object of cases"),
    },
    {
        "nested": map_of(list_of(TEXT), "an object of classes"),
        "protocol": PROTOCOL_NAME,
    },
)


def summary_of(results: Results, labels: Mapping[str, Any]) -> dict[str, Any]:
    """nnU-Net's summary of results, and a `cdpd` entry with names, sources and what nnU-Net has no place for.

    Args:
        labels: Of the reference's dataset.json.
    """
    regions = [tuple(labels[name]) if isinstance(labels[name], list) else labels[name] for name in results.reference.classes]
    keys = nnunet_keys(results.reference, regions, results.class_names)
    return {
        **nnunet_summary(results.cases, results.reference, keys, results.protocol.metrics),
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
            "nested": {outer: list(inner) for outer, inner in results.nested.items()},
        },
    }


def read_results(path: str | Path) -> Results:
    """Results from the summary.json that `cdpd evaluate` wrote.

    Raises:
        UserError: The file cannot be read, is damaged or was written by nnU-Net, which does not say what is annotated.
    """
    path, way_out = Path(path), "run `cdpd evaluate` on the predictions"
    summary = read_shaped(path, record(), way_out)
    if not isinstance(summary.get("cdpd"), dict) or "reference" not in summary["cdpd"]:
        raise UserError(f"{path}: not written by `cdpd evaluate`; run it on the predictions")
    check_shape(summary, record({"cdpd": _OURS}), path, way_out)
    ours = summary["cdpd"]
    protocol = PROTOCOLS[ours.get("protocol", NNUNET.name)]  # files of version 0.1 do not say
    scores = map_of(record(dict.fromkeys(protocol.metrics, SCORE)), "an object of classes")
    check_shape(summary, record({"metric_per_case": list_of(record({**_ABOUT_CASE, "metrics": scores}))}), path, way_out)
    names = ours["classes"]
    if others := sorted({key for case in summary["metric_per_case"] for key in case["metrics"]} - set(names)):
        raise UserError(f"{path}: `cdpd: classes` does not name {listed(others)}; {way_out}")
    cases = [
        CaseScores(
            case["case"],
            case["source"],
            case["reference_file"],
            case["prediction_file"],
            {names[key]: its for key, its in case["metrics"].items() if not math.isnan(its["n_ref"])},
        )
        for case in summary["metric_per_case"]
    ]
    reference, prediction = (_written_annotation(ours[side], side, path) for side in ("reference", "prediction"))
    if unknown := sorted({name for case in cases for name in case.metrics} - set(reference.column_names)):
        raise UserError(f"{path}: `cdpd: reference` has no class {listed(unknown)}, which has scores; {way_out}")
    if unknown := sorted({case.source for case in cases} - {source.name for source in reference.sources}):
        raise UserError(f"{path}: `cdpd: reference` has no source {listed(unknown)}, which has cases; {way_out}")
    if not any(case.metrics for case in cases):
        raise UserError(f"{path}: no case has a score; {way_out}")
    nested = ours.get("nested", {})
    return Results(reference, prediction, tuple(cases), ours["tolerance_mm"], ours["problems"], protocol, nested)


def _written_annotation(text: str, side: str, path: Path) -> Annotation:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: `cdpd: {side}` is no JSON ({reason(error)}); run `cdpd evaluate` again") from error
    check_shape(entries, record(), f"{path}: `cdpd: {side}`", "run `cdpd evaluate` again")
    try:
        return read_annotation(entries, side)
    except UserError as error:  # which speaks of a dataset.json
        raise UserError(f"{path}: `cdpd: {side}` is damaged ({error}); run `cdpd evaluate` again") from error


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write summary.json with nnU-Net's own function."""
    # Imported here: it imports torch, which the processes that score cases without surface metrics do not need.
    from nnunetv2.evaluation.evaluate_predictions import save_summary_json

    with written_beside(path) as beside:
        save_summary_json(dict(summary), str(beside))


def nnunet_keys(annotation: Annotation, regions: Sequence[Region], names: Sequence[str]) -> dict[str, Region]:
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


def nnunet_summary(
    cases: Sequence[CaseScores], annotation: Annotation, keys: Mapping[str, Region], metrics: Sequence[str]
) -> dict[str, Any]:
    """nnU-Net's metric_per_case, mean and foreground_mean."""
    not_scored = dict.fromkeys(metrics, math.nan)
    means = {
        name: {metric: mean_of_finite(case.metrics.get(name, not_scored)[metric] for case in cases) for metric in metrics}
        for name in keys
    }
    counted = counted_in_mean(annotation, scored_on(cases))
    return {
        "metric_per_case": [
            {**vars(case), "metrics": {key: dict(case.metrics.get(name, not_scored)) for name, key in keys.items()}}
            for case in cases
        ],
        "mean": {key: means[name] for name, key in keys.items()},
        "foreground_mean": {metric: mean_of_finite(means[name][metric] for name in counted) for metric in metrics},
    }


def _by_name(results: Results, source: str | None) -> dict[str, Any]:
    classes: dict[str, Any] = {}
    for name in results.class_names:
        summary = results.summary(name, source)
        counts = {what: getattr(summary, what) for what in CLASS_COUNTS}
        scores = {**counts, **summary.means, "Dice_interval": list(summary.dice_interval)}
        classes[name] = scores if summary.cases else "not annotated"
    interval = list(results.foreground_dice_interval(source))
    return {
        "cases": len(results.cases_of(source)),
        "classes": classes,
        "foreground_mean": {**results.foreground_means(source), "Dice_interval": interval},
    }
