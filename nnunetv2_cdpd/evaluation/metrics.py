"""Metrics: how well the predicted label map of one case agrees with its reference, class by class.

Overlap metrics have nnU-Net's names and its rule for empty masks; for the surface metrics see `surfaces`.

Metrics of a class by nnU-Net's protocol (`protocols` tells what the paper's does differently):
    Dice, IoU       nan if reference and prediction are empty; 0 if one of them is
    HD95_mm         in mm, the larger of the two directed 95th percentiles of the distances between border voxels;
                    nan if both are empty, inf if one is
    SurfaceDice     share of both surfaces that lies within a tolerance of the other, 0 to 1;
                    nan if both are empty, 0 if one is
    TP FP FN TN n_ref n_pred    voxels

A voxel whose reference may or may not be of the class (a kidney of unknown side, a kidney tumor for the right kidney)
takes the prediction's answer, a predicted voxel of that kind takes the reference's, and where both are unknown the voxel
is negative. Voxels of the ignore label count nowhere; the surface metrics see the same on both sides there.
"""

import math
from collections.abc import Sequence

import numpy as np

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED, Annotation
from nnunetv2_cdpd.evaluation.matching import prediction_states
from nnunetv2_cdpd.evaluation.protocols import COUNTS, DEFAULT_TOLERANCE_MM, NNUNET, Protocol
from nnunetv2_cdpd.evaluation.surfaces import add_surface_metrics

OVERLAP_METRICS = ("Dice", "IoU", *COUNTS)


def case_metrics(
    reference_map: np.ndarray,
    prediction_map: np.ndarray,
    spacing: Sequence[float],
    *,
    reference: Annotation,
    source: int,
    prediction: Annotation,
    tolerance_mm: float | None = DEFAULT_TOLERANCE_MM,
    protocol: Protocol = NNUNET,
) -> dict[str, dict[str, float]]:
    """Score one case on the classes and unions that its source can be scored on and the prediction's labels hold.

    Args:
        reference_map: (X, Y, Z) stored values of the reference's dataset.
        prediction_map: (X, Y, Z) stored values of the prediction's labels.
        spacing: Voxel size in mm, array order.
        source: Index into the reference's sources.
        tolerance_mm: Of the surface Dice; None: no surface metrics.
        protocol: Whose rules to follow.

    Returns:
        Class or union -> metric -> value. See the head of this file for the metrics.
    """
    if protocol.grid_mm is not None:
        reference_map = resampled_label_map(reference_map, spacing, protocol.grid_mm)
        prediction_map = resampled_label_map(prediction_map, spacing, protocol.grid_mm)
        spacing = [protocol.grid_mm] * 3
    num_values = reference.num_values, prediction.num_values
    # Both maps in one, so that each class is a look-up in a small table: code = reference value * P + predicted value.
    code = reference_map.astype(np.uint16 if num_values[0] * num_values[1] < 2**16 else np.int32)
    code *= num_values[1]
    code += prediction_map.astype(code.dtype)
    counts = _count(code, num_values)
    if reference.ignore_value is not None:
        counts[reference.ignore_value] = 0
    tables = scored_masks(reference, source, prediction)
    scores = {name: overlap_metrics(counts, *table, protocol.dice_smoothing) for name, table in tables.items()}
    if protocol.needs_reference:
        scores = {name: score for name, score in scores.items() if score["n_ref"]}
    if tolerance_mm is not None:
        add_surface_metrics(scores, tables, code, num_values, spacing, tolerance_mm, protocol)
    return scores


def scored_masks(reference: Annotation, source: int, prediction: Annotation) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which pairs of stored values are of a class in the reference, and which in the prediction.

    Args:
        source: Index into the reference's sources.

    Returns:
        Class or union that the source can be scored on and the prediction's labels hold -> bool (V, P) twice; V values of
        the reference, P of the prediction.
    """
    predicted_states = prediction_states(reference, prediction)
    return {
        name: _both_masks(reference.tables[source][:, column], predicted_states[name])
        for column, name in enumerate(reference.column_names)
        if reference.scored[source, column] and name in predicted_states
    }


def resampled_label_map(label_map: np.ndarray, spacing: Sequence[float], grid_mm: float) -> np.ndarray:
    """The nearest voxel of a label map on an isotropic grid that begins with the same voxel.

    Args:
        spacing: Voxel size in mm, array order.
        grid_mm: Voxel size of the grid.
    """
    lengths = [round((length - 1) * mm / grid_mm) + 1 for length, mm in zip(label_map.shape, spacing)]
    nearest = [
        np.minimum(np.floor(np.arange(new) * grid_mm / mm + 0.5).astype(int), length - 1)
        for new, mm, length in zip(lengths, spacing, label_map.shape)
    ]
    return label_map[np.ix_(*nearest)]


def overlap_metrics(
    counts: np.ndarray, in_reference: np.ndarray, in_prediction: np.ndarray, dice_smoothing: int = 0
) -> dict[str, float]:
    """Overlap metrics of one class.

    Args:
        counts: (V, P) voxels with a reference value and a predicted value.
        in_reference: Bool (V, P), whether a voxel with these values is of the class in the reference.
        in_prediction: Bool (V, P), the same in the prediction.
        dice_smoothing: Added to the denominator of the Dice.
    """
    tp = int(counts[in_reference & in_prediction].sum())
    fp = int(counts[~in_reference & in_prediction].sum())
    fn = int(counts[in_reference & ~in_prediction].sum())
    tn = int(counts[~in_reference & ~in_prediction].sum())
    union = tp + fp + fn
    return {
        "Dice": 2 * tp / (tp + union + dice_smoothing) if union else math.nan,
        "IoU": tp / union if union else math.nan,
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "TN": tn,
        "n_ref": tp + fn,
        "n_pred": tp + fp,
    }


def _count(code: np.ndarray, num_values: tuple[int, int]) -> np.ndarray:
    """int64 (V, P): voxels of each pair of values; slice by slice, because bincount makes 8 bytes of each voxel."""
    counts = np.zeros(num_values[0] * num_values[1], np.int64)
    for part in code:
        counts += np.bincount(part.ravel(), minlength=len(counts))
    return counts.reshape(num_values)


def _both_masks(reference_states: np.ndarray, predicted_states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bool (V, P) twice: whether a voxel with these two values is of a class in the reference, and in the prediction."""
    reference, predicted = reference_states[:, None], predicted_states[None]
    in_reference = (reference == POSITIVE) | ((reference == UNSUPERVISED) & (predicted == POSITIVE))
    in_prediction = (predicted == POSITIVE) | ((predicted == UNSUPERVISED) & (reference == POSITIVE))
    return in_reference, in_prediction
