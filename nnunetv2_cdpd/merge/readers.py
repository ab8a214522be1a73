"""Readers: which of nnU-Net's readers a merged dataset asks for, so that every image is read as its dataset asks.

SimpleITKIO and NibabelIO leave the axes as they are stored and give the same voxels. NibabelIOWithReorient turns them to one
orientation. A dataset asks for it because its files are stored in several, some mirror images of others, so it has to stay;
for the other datasets it does no harm, because image and label map of a case are turned alike.
"""

from collections.abc import Sequence

from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME, READER_KEY
from nnunetv2_cdpd.datasets.raw import RawDataset
from nnunetv2_cdpd.errors import UserError

_ALIKE = {None, SimpleITKIO.__name__, NibabelIO.__name__}
_TURNING = NibabelIOWithReorient.__name__


def reader_asked_for(inputs: Sequence[RawDataset]) -> str | None:
    """Name of the reader that the merged dataset asks for; None: nnU-Net chooses by file ending.

    Raises:
        UserError: Readers of which nothing tells that they give the same voxels.
    """
    asked = {dataset.name: dataset.dataset_json.image_reader for dataset in inputs}
    names = set(asked.values())
    if len(names) == 1:
        return names.pop()
    others = names - _ALIKE
    if not others:
        return None
    if others == {_TURNING}:
        return _TURNING
    if len(others) == 1 and names == {None, *others}:
        return others.pop()
    told = ", ".join(f"{name} for {reader or 'none'}" for name, reader in asked.items())
    raise UserError(
        f"the datasets ask for readers that may give other voxels ({told}); write one that reads all as {READER_KEY} into each "
        f"{FILE_NAME}"
    )


def warnings_on_readers(inputs: Sequence[RawDataset]) -> list[str]:
    """What the user should know where the datasets ask for different readers."""
    asked = sorted({str(dataset.dataset_json.image_reader) for dataset in inputs})
    if len(asked) == 1:
        return []
    chosen = reader_asked_for(inputs)
    what = "they read the same voxels, and nnU-Net chooses by file ending"
    told = f"{chosen} reads all of them" if chosen else what
    return [f"the datasets ask for different readers ({', '.join(asked)}); {told}"]
