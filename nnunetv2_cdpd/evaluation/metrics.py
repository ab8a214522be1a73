"""Metrics: how well the predicted label map of one case agrees with its reference, class by class.

Overlap metrics have nnU-Net's names and its rule for empty masks. The surface metrics are MONAI's: it is maintained,
runs with numpy 1 and 2, respects anisotropic spacing, and its surface Dice agrees with DeepMind's surface-distance to
single precision. That original was last released in 2024 and fails with numpy 1.24 to 1.26, with numpy 2 on an empty
mask, and with SciPy 2; MedPy has no surface Dice.

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
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED, Annotation
from nnunetv2_cdpd.evaluation.matching import prediction_states
from nnunetv2_cdpd.evaluation.protocols import COUNTS, NNUNET, Protocol

DEFAULT_TOLERANCE_MM = 3.0  # two voxels of the usual 1.5 mm
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
        reference_map = resampled(reference_map, spacing, protocol.grid_mm)
        prediction_map = resampled(prediction_map, spacing, protocol.grid_mm)
        spacing = [protocol.grid_mm] * 3
    num_values = reference.num_values, prediction.num_values
    # Both maps in one, so that each class is a look-up in a small table: code = reference value * P + predicted value.
    code = reference_map.astype(np.uint16 if num_values[0] * num_values[1] < 2**16 else np.int32)
    code *= num_values[1]
    code += prediction_map.astype(code.dtype)
    counts = _count(code, num_values)
    if reference.ignore_value is not None:
        counts[reference.ignore_value] = 0
    predicted_states = prediction_states(reference, prediction)
    tables = {
        name: _both_masks(reference.tables[source][:, column], predicted_states[name])
        for column, name in enumerate(reference.column_names)
        if reference.scored[source, column] and name in predicted_states
    }
    scores = {name: overlap_metrics(counts, *table, protocol.dice_smoothing) for name, table in tables.items()}
    if protocol.needs_reference:
        scores = {name: score for name, score in scores.items() if score["n_ref"]}
    if tolerance_mm is not None:
        _add_surface_metrics(scores, tables, code, num_values, spacing, tolerance_mm, protocol)
    return scores


def resampled(label_map: np.ndarray, spacing: Sequence[float], grid_mm: float) -> np.ndarray:
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


def surface_metrics(
    reference_mask: np.ndarray,
    prediction_mask: np.ndarray,
    spacing: Sequence[float],
    tolerance_mm: float,
    protocol: Protocol = NNUNET,
) -> dict[str, float]:
    """HD95 and surface Dice of two masks, neither of them empty.

    Args:
        reference_mask: Bool, 2 or 3 axes; the outside of the array is background.
        spacing: Voxel size in mm, array order.
    """
    # Imported here: it takes seconds, and the final validation of a training scores without surfaces.
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    both = [torch.from_numpy(np.ascontiguousarray(mask))[None, None].float() for mask in (prediction_mask, reference_mask)]
    options = {"include_background": True, "spacing": [float(size) for size in spacing]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of an argument that it passes to itself
        hd95 = None if protocol.pooled else compute_hausdorff_distance(*both, percentile=95, **options).item()
        surface_dice = compute_surface_dice(*both, class_thresholds=[tolerance_mm], use_subvoxels=True, **options)
    if hd95 is None:
        hd95 = pooled_hd95_voxels(reference_mask, prediction_mask)
    # MONAI computes in single precision; further digits are noise
    return {protocol.distance: round(hd95, 5), "SurfaceDice": round(surface_dice.item(), 5)}


def pooled_hd95_voxels(first: np.ndarray, second: np.ndarray) -> float:
    """HD95 as MedPy's `hd95` has it for a spacing of 1: the 95th percentile of the distances of both directions together.

    MedPy itself is no dependency: its compiled part is not needed here and hard to install.
    """
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    distances = [ndimage.distance_transform_edt(~border)[other] for border, other in zip(borders, borders[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


def _count(code: np.ndarray, num_values: tuple[int, int]) -> np.ndarray:
    """int64 (V, P): voxels of each pair of values; slice by slice, because bincount makes 8 bytes of each voxel."""
    size = num_values[0] * num_values[1]
    counts = sum(np.bincount(part.ravel(), minlength=size) for part in code)
    return counts.reshape(num_values)


def _both_masks(reference_states: np.ndarray, predicted_states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bool (V, P) twice: whether a voxel with these two values is of a class in the reference, and in the prediction."""
    reference, predicted = reference_states[:, None], predicted_states[None]
    in_reference = (reference == POSITIVE) | ((reference == UNSUPERVISED) & (predicted == POSITIVE))
    in_prediction = (predicted == POSITIVE) | ((predicted == UNSUPERVISED) & (reference == POSITIVE))
    return in_reference, in_prediction


def _add_surface_metrics(
    scores: dict[str, dict[str, float]],
    tables: dict[str, tuple[np.ndarray, np.ndarray]],
    code: np.ndarray,
    num_values: tuple[int, int],
    spacing: Sequence[float],
    tolerance_mm: float,
    protocol: Protocol,
) -> None:
    # nnU-Net stores an image as a volume of one slice, whose thickness means nothing: score it in its plane
    axes = [axis for axis, length in enumerate(code.shape) if length > 1]
    if len(axes) == 2:
        code, spacing = code.squeeze(), [spacing[axis] for axis in axes]
    boxes = ndimage.find_objects(code + 1, max_label=num_values[0] * num_values[1])  # of each pair of values
    for name, score in scores.items():
        in_reference, in_prediction = tables[name]
        if not score["n_ref"] or not score["n_pred"]:
            nothing = not score["n_ref"] and not score["n_pred"]
            score.update({protocol.distance: math.nan if nothing else protocol.distance_if_empty})
            score.update(SurfaceDice=math.nan if nothing else 0.0)
            continue
        flat = in_reference.ravel(), in_prediction.ravel()
        part = code[_around([boxes[pair] for pair in np.flatnonzero(flat[0] | flat[1]) if boxes[pair]])]
        score.update(surface_metrics(flat[0][part], flat[1][part], spacing, tolerance_mm, protocol))


def _around(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The smallest box that holds all of these."""
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes))
