"""DICOM series for the small model, one of each kind that an archive has."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from builders.source_series import Geometry, geometries, write_series

_SIZE = (21, 18, 14)
KINDS = {"plain": 0, "tilted": 3, "frames": 2}  # name -> number of the geometry


def geometry_of(kind: str) -> Geometry:
    """Of one of `KINDS`, as large as the model's images are and with voxels of its spacing."""
    made = geometries(4)[KINDS[kind]]
    frames = None if made.frames is None else tuple(np.random.default_rng(0).permutation(_SIZE[2]).tolist())
    return replace(made, size=_SIZE, spacing=(0.9, 0.8, 2.0), frames=frames)


def write_kinds(folder: Path, *kinds: str) -> Path:
    """A folder with a series of each kind in a folder of its name."""
    for number, kind in enumerate(kinds):
        write_series(folder / kind, geometry_of(kind), seed=number)
    return folder
