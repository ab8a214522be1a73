"""Middle: the point of a patient from which places are told: of the body, where a CT shows one, else of the image.

Hospitals cut their images in different ways, some far beside the body's middle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.images import ct_channel, read_body
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import CheckedReader


def ct_of(dataset_json: DatasetJson) -> int | None:
    """Index of the channel that is a CT; None: none is."""
    try:
        return ct_channel(dataset_json)
    except UserError:
        return None


def middle_of(
    images: Sequence[Path], ct: int | None, reader: CheckedReader, shape: Sequence[int], properties: Mapping[str, Any]
) -> np.ndarray | None:
    """(3,) mm (LPS) from which places are told; None: a CT that shows no body, or lies too obliquely.

    Args:
        images: Of the case.
        ct: Index of the channel that is a CT; None: none is, and the middle is that of the image. So it is of a slice, and of a
            format without geometry.
        shape: (Z, Y, X) of the label map.
        properties: Of the label map, those of nnU-Net's readers.

    Raises:
        UserError: An image cannot be read, or does not lie on its label map.
    """
    grid = Grid.of_properties(shape, properties)
    if ct is None or grid is None or len(grid.shape) < 3:
        return position_mm(Grid.of_array(shape, properties), [(length - 1) / 2 for length in shape])
    axes = BodyAxes.of(grid)
    body = None if axes is None else read_body(images, ct, reader, shape, axes)
    if axes is None or body is None:
        return None
    height = (axes.shape[0] - 1) / 2 * axes.spacing[0]
    point = np.array([height, *body.middle])
    return position_mm(grid, axes.in_file(np.stack([point, point], 1))[:, 0].tolist())


def position_mm(grid: Grid, index: Sequence[float]) -> np.ndarray:
    """(3,) of a voxel index in array order; a 2D image has no third axis."""
    position = grid.position(list(reversed(index))[: len(grid.shape)])
    return np.pad(position, (0, 3 - len(position)))
