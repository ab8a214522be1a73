"""Images whose looks tell where they lie in the body: the CT among the channels of a dataset, read whole."""

from collections.abc import Sequence
from pathlib import Path

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.place.axes import BodyAxes
from nnunetv2_cdpd.place.body import BodySlices, body_slices
from nnunetv2_cdpd.volumes.placement import times
from nnunetv2_cdpd.volumes.reading import CheckedReader

_CT = "ct"


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
        UserError: A file cannot be read, or is of another shape than the label map.
    """
    files = [images[channel]] if len(images) > channel else list(images)
    array, _ = reader.read_images(files)
    image = array[channel if len(array) > 1 else 0]
    if image.shape != tuple(shape):
        raise UserError(
            f"{files[0]}: {times(image.shape)} voxels, its label map has {times(shape)}; they are of different images"
        )
    return body_slices(axes.turned(image), axes.spacing)
