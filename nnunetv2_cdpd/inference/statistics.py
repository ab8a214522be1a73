"""Statistics of a prediction: volume, mean intensity and centroid of every class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.jobs import write_text
from nnunetv2_cdpd.jobs.tables import csv_of
from nnunetv2_cdpd.volumes.grid import Grid

_OPPOSITE = dict(zip("LRAPSI", "RLPAIS"))


def prediction_statistics(prediction: Prediction, image: np.ndarray | None, channel_name: str) -> dict[str, dict[str, Any]]:
    """Class -> what there is of it; a class includes what lies in it.

    Args:
        image: (Z, Y, X), the first channel, on the grid of the label map; None: no intensities.
        channel_name: Of that channel: a mean of "CT" is in HU.

    Returns:
        volume_ml, None of a 2D image; voxels; `mean_HU` of a CT, else `mean_intensity`; centroid_voxel (z, y, x) in the written
        label map, as SimpleITK reads it; centroid_mm in DICOM's patient coordinates (towards left, back, head), None where the
        format has none. Of a class that is not there: 0 ml (None of a 2D image), 0 voxels, and None for the rest.
    """
    labels, spacing = prediction.label_map, prediction.properties["spacing"]
    grid = Grid.of_properties(labels.shape, prediction.properties)
    voxel_ml = None if is_flat(labels.shape, spacing) else float(np.prod(spacing)) / 1000
    # Everything is added up per stored value first, over the labelled voxels only.
    place = np.nonzero(labels)
    value = labels[place].astype(np.intp)
    size = 1 + max((0, *(v for region in prediction.regions.values() for v in region)))
    count = np.bincount(value, minlength=size)
    sums = [np.bincount(value, weights=axis, minlength=size) for axis in place]
    intensity = None if image is None else np.bincount(value, weights=image[place], minlength=size)
    mean_name = "mean_HU" if channel_name.upper() == "CT" else "mean_intensity"
    found: dict[str, dict[str, Any]] = {}
    for name, region in prediction.regions.items():
        members = list(region)
        voxels = int(count[members].sum())
        centroid = [float(axis[members].sum() / voxels) for axis in sums] if voxels else None
        found[name] = {"volume_ml": None if voxel_ml is None else round(voxels * voxel_ml, 6), "voxels": voxels}
        if intensity is not None:
            found[name][mean_name] = round(float(intensity[members].sum() / voxels), 4) if voxels else None
        found[name]["centroid_voxel"] = None if centroid is None else _index_in_file(centroid, prediction.properties, grid)
        found[name]["centroid_mm"] = None
        if centroid is not None and grid is not None and len(grid.shape) == 3:
            found[name]["centroid_mm"] = [round(float(mm), 3) for mm in grid.position(centroid[::-1])]
    return found


def is_flat(shape: Sequence[int], spacing: Sequence[float]) -> bool:
    """Whether an image is a 2D one, which nnU-Net gives one slice, of 999 times its spacing; it has no volume."""
    return shape[0] == 1 and spacing[0] >= 999 * max(spacing[1:])


def _index_in_file(index: Sequence[float], properties: Mapping[str, Any], grid: Grid | None) -> list[float]:
    """An index (z, y, x) into the array that nnU-Net works on, on its grid, as one into the file, whose axes its reader may have
    reordered.
    """
    stuff, turned = properties.get("nibabel_stuff", {}), properties.get("sitk_stuff", {}).get("original_orientation")
    if "reoriented_affine" in stuff and len(index) == 3:
        to_file = np.linalg.inv(stuff["original_affine"]) @ stuff["reoriented_affine"]
        index = (to_file @ [*index[::-1], 1])[2::-1]
    elif turned is not None and grid is not None and grid.axes is not None:
        along = dict(zip(grid.axes, index[::-1]))
        along |= {_OPPOSITE[letter]: size - 1 - along[letter] for letter, size in zip(grid.axes, grid.shape)}
        index = [along[letter] for letter in turned[::-1]]
    return [round(float(axis), 4) + 0.0 for axis in index]  # without -0.0


def write_table(path: Path, statistics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Write case -> class -> statistics as CSV, a row per case and class."""
    names = list(dict.fromkeys(key for classes in statistics.values() for found in classes.values() for key in found))
    axes = {"centroid_voxel": ("z", "y", "x"), "centroid_mm": ("left", "back", "head")}
    columns = {key: [f"{key}_{axis}" for axis in axes[key]] if key in axes else [key] for key in names}
    rows: list[list[Any]] = [["case", "class", *(column for key in names for column in columns[key])]]
    for case, classes in statistics.items():
        for name, found in classes.items():
            row: list[Any] = []
            for key in names:
                entry = found.get(key)  # what is not there leaves its cells empty
                row += entry if isinstance(entry, list) else [entry] * len(columns[key])
            rows.append([case, name, *row])
    write_text(path, csv_of(rows))
