"""Surfaces: HD95 and surface Dice.

They are MONAI's: it is maintained, runs with numpy 1 and 2, respects anisotropic spacing, and its surface Dice agrees with
DeepMind's surface-distance to single precision. That original was last released in 2024 and fails with numpy 1.24 to 1.26,
with numpy 2 on an empty mask, and with SciPy 2; MedPy has no surface Dice.
"""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.evaluation.protocols import Protocol


def add_surface_metrics(
    scores: Mapping[str, dict[str, float]],
    tables: Mapping[str, tuple[np.ndarray, np.ndarray]],
    code: np.ndarray,
    num_values: tuple[int, int],
    spacing: Sequence[float],
    tolerance_mm: float,
    protocol: Protocol,
) -> None:
    """Add the surface metrics to the scores of each class of one case.

    Args:
        scores: Class -> overlap metrics, which tell what is empty.
        tables: Class -> bool (V, P) twice: whether a voxel with these values is of it in the reference, in the prediction.
        code: (X, Y, Z) reference value * P + predicted value.
        num_values: (V, P).
        spacing: Voxel size in mm, array order.
    """
    # nnU-Net stores an image as a volume of one slice, whose thickness means nothing: score it in its plane
    axes = [axis for axis, length in enumerate(code.shape) if length > 1]
    if len(axes) == 2:
        code, spacing = code.squeeze(), [spacing[axis] for axis in axes]
    boxes = ndimage.find_objects(code + 1, max_label=num_values[0] * num_values[1])  # of each pair of values
    for name, score in scores.items():
        if not score["n_ref"] or not score["n_pred"]:
            nothing = not score["n_ref"] and not score["n_pred"]
            score[protocol.distance] = math.nan if nothing else protocol.distance_if_empty
            score["SurfaceDice"] = math.nan if nothing else 0.0
            continue
        in_reference, in_prediction = (table.ravel() for table in tables[name])
        part = code[_around([boxes[pair] for pair in np.flatnonzero(in_reference | in_prediction) if boxes[pair]])]
        score.update(_surface_metrics(in_reference[part], in_prediction[part], spacing, tolerance_mm, protocol))


def _surface_metrics(
    reference_mask: np.ndarray,
    prediction_mask: np.ndarray,
    spacing: Sequence[float],
    tolerance_mm: float,
    protocol: Protocol,
) -> dict[str, float]:
    """HD95 and surface Dice of two masks, neither of them empty.

    Args:
        reference_mask: Bool, 2 or 3 axes; the outside of the array is background.
        spacing: Voxel size in mm, array order.
    """
    # Imported here: it takes seconds, and the final validation of a training scores without surfaces.
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    prediction, reference = (
        torch.from_numpy(np.ascontiguousarray(mask))[None, None].float() for mask in (prediction_mask, reference_mask)
    )
    voxel_mm = [float(size) for size in spacing]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of an argument that it passes to itself
        if protocol.pooled:
            hd95 = pooled_hd95_voxels(reference_mask, prediction_mask)
        else:
            hd95 = compute_hausdorff_distance(
                prediction, reference, include_background=True, percentile=95, spacing=voxel_mm
            ).item()
        surface_dice = compute_surface_dice(
            prediction, reference, [tolerance_mm], include_background=True, spacing=voxel_mm, use_subvoxels=True
        ).item()
    # MONAI computes in single precision; further digits are noise
    return {protocol.distance: round(hd95, 5), "SurfaceDice": round(surface_dice, 5)}


def pooled_hd95_voxels(first: np.ndarray, second: np.ndarray) -> float:
    """HD95 as MedPy's `hd95` has it for a spacing of 1: the 95th percentile of the distances of both directions together.

    MedPy itself is no dependency: its compiled part is not needed here and hard to install.
    """
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    distances = [ndimage.distance_transform_edt(~border)[other] for border, other in zip(borders, borders[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


def _around(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The smallest box that holds all of these."""
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes))
