"""Facts: what is measured of a case for its quality, by one way for the cases of a calibration and for those of a prediction.

A fact is a number per class that says something of the prediction alone. `features` makes of them what a regression sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nnunetv2_cdpd.annotation import POSITIVE, Annotation
from nnunetv2_cdpd.inference.predictor import LabelledCase, Predictor
from nnunetv2_cdpd.inference.preprocessing import PreprocessedCase
from nnunetv2_cdpd.quality.shapes import CUT_OFF, shapes_of
from nnunetv2_cdpd.quality.sums import BlockSums
from nnunetv2_cdpd.volumes.hidden import beside_hidden

VERSION = 2  # of the facts: records of others are made anew
Facts = dict[str, Any]


def watched(
    predictor: Predictor, case: PreprocessedCase, on_grid: np.ndarray | None = None, source: int = 0
) -> tuple[LabelledCase, BlockSums]:
    """Label an image (`Predictor.label`), and add up what its logits say.

    Args:
        on_grid: (x, y, z) stored values of the reference there, for the calibration of probabilities; None: there is none.
        source: Index of the reference's source.
    """
    selection = predictor.selection
    table = None if on_grid is None else predictor.annotation.tables[source]
    sums = BlockSums(case.data, selection.needed, selection.tree, on_grid, table)
    return predictor.label(case, sums), sums


def facts_of(predictor: Predictor, sums: BlockSums, spacing: Sequence[float]) -> dict[str, Facts]:
    """Needed class -> its facts: entries of `ClassSums.sums`, `highest`, and `shape`, which is None where the class is nowhere.

    Args:
        sums: Of all blocks of the image.
        spacing: Voxel size in mm, of the network's grid and in its order of axes.
    """
    annotation, needed = predictor.annotation, predictor.selection.needed
    backward = predictor.plans_manager.transpose_backward
    members = {annotation.classes[k]: np.flatnonzero(sums.inside[k]).tolist() for k in needed}
    shapes = shapes_of(sums.winners.transpose(backward), members, [spacing[axis] for axis in backward])
    its = sums.of_classes()
    found = {}
    for k in needed:
        name = annotation.classes[k]
        shape = asdict(shapes[name]) if name in shapes else None
        found[name] = {**its[k].sums, "highest": max(its[k].highest, -100.0), "shape": shape}
    return found


def network_spacing(shape: Sequence[int], properties: Mapping[str, Any], forward: Sequence[int]) -> list[float]:
    """Voxel size in mm of the network's grid of this shape, in its order of axes."""
    lengths = properties["shape_after_cropping_and_before_resampling"]
    of_image = [properties["spacing"][axis] for axis in forward]
    return [mm * int(length) / new for mm, length, new in zip(of_image, lengths, shape)]


def nearest_on_network_grid(
    reference: np.ndarray, shape: Sequence[int], forward: Sequence[int], properties: Mapping[str, Any]
) -> np.ndarray:
    """Stored values (Z, Y, X) of an image at the voxels of the network's grid (x, y, z), the nearest of each."""
    crop = tuple(slice(int(start), int(stop)) for start, stop in properties["bbox_used_for_cropping"])
    cropped = reference.transpose(forward)[crop]
    nearest = [((np.arange(new) + 0.5) * length / new).astype(int) for length, new in zip(cropped.shape, shape)]
    return cropped[np.ix_(*nearest)]


def reference_places(
    reference: np.ndarray,
    annotation: Annotation,
    source: int,
    spacing: Sequence[float],
    on_grid: np.ndarray,
    image: np.ndarray,
) -> dict[str, Facts]:
    """What there is of a reference (Z, Y, X), to which features compare.

    Args:
        spacing: Voxel size in mm, array order.
        on_grid: (x, y, z) the reference on the network's grid.
        image: (x, y, z) the first channel there, as the network sees it.

    Returns:
        Annotated class -> `volume_ml`, `centroid_mm`, and `intensity`, the mean of the image; None where there is nothing. Of a
        class that an ignored part cuts neither volume nor place is known: None.
    """
    place = np.nonzero(reference)
    values = reference[place].astype(np.intp)
    count = np.bincount(values, minlength=annotation.num_values)
    at_ignored = np.zeros_like(count)
    if annotation.ignore_value is not None and count[annotation.ignore_value]:
        beside = reference[beside_hidden(reference == annotation.ignore_value)].astype(np.intp)
        at_ignored = np.bincount(beside, minlength=annotation.num_values)
    sums = [np.bincount(values, weights=axis, minlength=annotation.num_values) for axis in place]
    voxel_ml = float(np.prod(spacing)) / 1000
    found = {}
    for k, name in enumerate(annotation.classes):
        if not annotation.scored[source, k]:
            continue
        inside = np.flatnonzero(annotation.tables[source][:, k] == POSITIVE)
        voxels = int(count[inside].sum())
        centroid = [float(axis[inside].sum() / voxels * mm) for axis, mm in zip(sums, spacing)] if voxels else None
        is_cut = int(at_ignored[inside].sum()) > CUT_OFF * voxels
        its = image[np.isin(on_grid, inside)]
        found[name] = {
            "volume_ml": None if is_cut else voxels * voxel_ml,
            "centroid_mm": None if is_cut else centroid,
            "intensity": float(its.mean()) if len(its) else None,
        }
    return found
