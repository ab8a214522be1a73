"""Images whose looks tell where they lie in the body: the CT among the channels of a dataset, read whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.errors import UserError, amount, listed
from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.body import BodySlices, body_slices
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.placement import times
from nnunetv2_cdpd.volumes.reading import CheckedReader

_CT = "ct"
_SPACING_TOLERANCE = 1e-2  # relative; headers of image and label map may be rounded differently


def ct_channel(dataset_json: DatasetJson) -> int:
    """Index of the first channel that is a CT.

    Raises:
        UserError: There is none.
    """
    names = dataset_json.channel_names
    for index, name in enumerate(names):
        if name.lower() == _CT:
            return index
    channels = listed(list(names))
    raise UserError(f"{dataset_json.path}: channels {channels}, none of which is CT; of other images nothing can be said")


def read_body(
    images: Sequence[Path], channel: int, reader: CheckedReader, shape: Sequence[int], axes: BodyAxes
) -> BodySlices | None:
    """What the CT of a case looks like; None: it shows no body.

    Args:
        images: A file per channel, or one with all.
        channel: Index of the CT.
        shape: (Z, Y, X) of the label map.
        axes: Of the label map.

    Raises:
        UserError: A file cannot be read, lacks the channel, or its voxels lie otherwise than those of the label map.
    """
    is_alone = len(images) > channel
    files = [images[channel]] if is_alone else list(images)
    if (missing := next((file for file in files if not file.exists()), None)) is not None:
        ending = "".join(missing.suffixes[-2:]) if missing.suffix == ".gz" else missing.suffix
        raise UserError(f"{missing}: no such file; the image of a case is called CASE_0000{ending}, by the name of its label map")
    array, properties = reader.read_images(files)
    if not is_alone and len(array) <= channel:
        held = amount(len(array), "channel")
        raise UserError(f"{files[0]}: {held}, and the CT is number {channel}, counted from 0; give a file of each channel")
    image = array[channel if len(array) > 1 else 0]
    if image.shape != tuple(shape):
        raise UserError(
            f"{files[0]}: {times(image.shape)} voxels, its label map has {times(shape)}; they are of different images"
        )
    own = BodyAxes.of(Grid.of_properties(image.shape, properties))
    if (
        own is None
        or (own.order, own.flipped) != (axes.order, axes.flipped)
        or not np.allclose(own.spacing, axes.spacing, rtol=_SPACING_TOLERANCE, atol=0)
    ):
        raise UserError(
            f"{files[0]}: its axes run otherwise, or its voxels are of another size, than its label map says; they are of "
            "different images"
        )
    return body_slices(axes.turned(image), axes.spacing)
