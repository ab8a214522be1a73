"""nnU-Net's evaluation of a folder, counting only annotated classes: in place of the host's after training."""

import multiprocessing
from functools import partial
from typing import Any, Hashable, Sequence

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join, subfiles
from nnunetv2.configuration import default_num_processes
from nnunetv2.evaluation.evaluate_predictions import save_summary_json
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.evaluation.metrics import class_masks, overlap_metrics, scored_columns


def compute_annotated_metrics_on_folder(
    folder_ref: str,
    folder_pred: str,
    output_file: str | None,
    image_reader_writer: BaseReaderWriter,
    file_ending: str,
    regions_or_labels: Sequence[Hashable],
    ignore_label: int | None = None,
    num_processes: int = default_num_processes,
    chill: bool = True,
    *,
    annotation: Annotation,
) -> dict[str, Any]:
    """nnU-Net's compute_metrics_on_folder with the same arguments and results, restricted by the annotation.

    A case holds metrics only of the classes that its source annotates; a class without any such case has the mean nan.
    Unions (merged labels) follow the classes, under the tuple of the stored values that stand for them.

    Raises:
        FileNotFoundError: Not `chill`, and a reference has no prediction.
    """
    predicted_files = subfiles(folder_pred, suffix=file_ending, join=False)
    missing = [name for name in subfiles(folder_ref, suffix=file_ending, join=False) if not isfile(join(folder_pred, name))]
    if missing and not chill:
        raise FileNotFoundError(f"{len(missing)} references without a prediction in {folder_pred}, first: {missing[0]}")
    keys = summary_keys(annotation, regions_or_labels)
    evaluate = partial(_case_metrics, annotation=annotation, reader=image_reader_writer, keys=keys)
    jobs = [(join(folder_ref, name), join(folder_pred, name), name[: -len(file_ending)]) for name in predicted_files]
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        cases = pool.starmap(evaluate, jobs)
    result = summary(cases, keys)
    if output_file is not None:
        save_summary_json(result, output_file)
    return result


def summary_keys(annotation: Annotation, regions_or_labels: Sequence[Hashable]) -> list[Hashable]:
    """nnU-Net's key of every column: a class's label or region, a union's tuple of all values that mean one of its classes."""
    unions = [tuple(value for value in range(annotation.num_values) if annotation.membership(value, union)) for union in annotation.unions]
    return [*(tuple(key) if isinstance(key, list) else key for key in regions_or_labels), *unions]


def summary(cases: list[dict], keys: Sequence[Hashable]) -> dict[str, Any]:
    """nnU-Net's summary of cases; means leave nan out and are nan where nothing is left."""
    metrics = ("Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref")
    mean = {key: {m: _nanmean([case["metrics"][key][m] for case in cases if key in case["metrics"]]) for m in metrics} for key in keys}
    result = {
        "metric_per_case": cases,
        "mean": mean,
        "foreground_mean": {m: _nanmean([mean[key][m] for key in keys]) for m in metrics},
    }
    for part in (*cases, result["mean"], result["foreground_mean"]):
        recursive_fix_for_json_export(part)
    return result


def _case_metrics(
    reference_file: str, prediction_file: str, case: str, *, annotation: Annotation, reader: BaseReaderWriter, keys: Sequence[Hashable]
) -> dict[str, Any]:
    reference, _ = reader.read_seg(reference_file)
    prediction, _ = reader.read_seg(prediction_file)
    reference, prediction = reference.astype(int), prediction.astype(int)
    source = annotation.source_index(case)
    metrics = {
        keys[column]: overlap_metrics(class_masks(reference, prediction, column, annotation, source, annotation))
        for column in scored_columns(annotation, source)
    }
    return {"reference_file": reference_file, "prediction_file": prediction_file, "metrics": metrics}


def _nanmean(values: Sequence[float]) -> float:
    values = np.array(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
