"""Metrics of one case: per annotated class and union, overlap in voxels and surfaces in mm.

A reference voxel may be ambiguous for a class (a merged label, a nested class with several possible parents, and the same
on the side of the prediction). An ambiguous voxel gets the other side's answer, so that it is neither hit nor miss; where
both are ambiguous it counts as not there. Voxels of nnU-Net's ignore label count nowhere.

Surface metrics are MONAI's, a library that is well kept, knows spacing, and computes surface Dice on sub-voxel surfaces as
its authors do (Nikolov et al., arXiv 1809.04430).
"""

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from nnunetv2_cdpd.annotation import POSITIVE, UNSUPERVISED, Annotation
from nnunetv2_cdpd.classes import name_key


@dataclass(frozen=True)
class Masks:
    """Reference and prediction of one class or union, bool (X, Y, Z), and which voxels count."""

    reference: np.ndarray
    prediction: np.ndarray
    counted: np.ndarray


def class_masks(
    reference: np.ndarray, prediction: np.ndarray, column: int, annotation: Annotation, source_index: int, predicted: Annotation
) -> Masks:
    """Masks of one column (class or union) of a case.

    Args:
        reference: Label map of stored values (X, Y, Z).
        prediction: Predicted label map, of the same shape.
        column: Index into `annotation.column_names`.
        annotation: Of the reference's dataset.
        source_index: Of the case.
        predicted: Of the prediction's dataset; classes are matched by name, stored values may differ.
    """
    names = _column_classes(annotation, column)
    known = {name_key(name): name for name in predicted.classes}
    wanted = frozenset(known[name_key(name)] for name in names if name_key(name) in known)
    reference_states = annotation.tables[source_index][:, column][reference]
    prediction_states = np.array([predicted.membership(value, wanted) for value in range(predicted.num_values)])[prediction]

    counted = reference != annotation.ignore_value if annotation.ignore_value is not None else np.ones(reference.shape, bool)
    certain_prediction = prediction_states == POSITIVE
    reference_mask = (reference_states == POSITIVE) | ((reference_states == UNSUPERVISED) & certain_prediction)
    prediction_mask = certain_prediction | ((prediction_states == UNSUPERVISED) & reference_mask)
    return Masks(reference_mask & counted, prediction_mask & counted, counted)


def overlap_metrics(masks: Masks) -> dict[str, float]:
    """nnU-Net's metrics with its names and rules: Dice and IoU are nan where neither side has a voxel, 0 where one has none."""
    tp = int((masks.reference & masks.prediction).sum())
    fp = int((masks.prediction & ~masks.reference).sum())
    fn = int((masks.reference & ~masks.prediction).sum())
    counted = int(masks.counted.sum())
    empty = tp + fp + fn == 0
    return {
        "Dice": float("nan") if empty else 2 * tp / (2 * tp + fp + fn),
        "IoU": float("nan") if empty else tp / (tp + fp + fn),
        "FP": fp,
        "TP": tp,
        "FN": fn,
        "TN": counted - tp - fp - fn,
        "n_pred": fp + tp,
        "n_ref": fn + tp,
    }


def surface_metrics(masks: Masks, spacing_mm: Sequence[float], tolerance_mm: float) -> dict[str, float]:
    """HD95 and surface Dice.

    Args:
        spacing_mm: Voxel size in the order of the array's axes.
        tolerance_mm: Surfaces closer than this agree.

    Returns:
        "HD95": symmetric 95th percentile of the surface distances in mm; "SurfaceDice": share of both surfaces within the
        tolerance. Both nan where neither side has a voxel; inf and 0 where one side has none.
    """
    if not masks.reference.any() and not masks.prediction.any():
        return {"HD95": float("nan"), "SurfaceDice": float("nan")}
    if not masks.reference.any() or not masks.prediction.any():
        return {"HD95": float("inf"), "SurfaceDice": 0.0}
    import torch  # seconds to import, as is MONAI
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    box = _bounding_box(masks.reference | masks.prediction)
    # one voxel of margin, so that no surface lies on the border of the crop
    pair = [torch.from_numpy(np.pad(mask[box], 1))[None, None] for mask in (masks.prediction, masks.reference)]
    spacing = [float(length) for length in spacing_mm]
    hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
    dice = compute_surface_dice(*pair, [tolerance_mm], include_background=True, spacing=spacing, use_subvoxels=True)
    return {"HD95": float(hd95), "SurfaceDice": float(dice)}


def scored_columns(annotation: Annotation, source_index: int) -> list[int]:
    """Columns that a case of this source is scored on."""
    return np.flatnonzero(annotation.scored[source_index]).tolist()


def _column_classes(annotation: Annotation, column: int) -> frozenset[str]:
    num_classes = len(annotation.classes)
    return frozenset({annotation.classes[column]}) if column < num_classes else annotation.unions[column - num_classes]


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    corners = np.argwhere(mask)
    return tuple(slice(low, high + 1) for low, high in zip(corners.min(0), corners.max(0)))
