"""The CTs that are learned from: all training images of raw datasets, labelled or not, and those of folders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.datasets.raw import RawDataset, read_datasets
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.inputs import Case, find_image_cases
from nnunetv2_cdpd.volumes.reading import CheckedReader

A_FOLDER = "a folder of images"  # its name may be a patient's
_CT = "CT"


@dataclass(frozen=True)
class CtImage:
    """An image that is read.

    data: What it belongs to, for the file of weights: the name of a dataset, or A_FOLDER.
    channel: That is CT, of those in its files.
    """

    data: str
    case: Case
    reader: CheckedReader
    channel: int = 0


def ct_images(datasets: Sequence[str | int | Path], folders: Sequence[Path], report: Callable[[str], None]) -> dict[str, CtImage]:
    """The images of raw datasets and of folders, under names that messages may tell.

    Args:
        datasets: Ids, names or folders; the images of merged ones are where they are.
        folders: Of files in any format that is read, or of DICOM series, at any depth.
        report: Hears what is passed over.

    Raises:
        UserError: There is none, or a dataset has no channel of CT.
    """
    if not datasets and not folders:
        raise UserError("no images; give argument datasets or argument folders")
    found: dict[str, CtImage] = {}
    for dataset in read_datasets(datasets):
        found |= {f"{dataset.name}/{name}": image for name, image in _of_dataset(dataset).items()}
    for folder in folders:
        for case in find_image_cases(folder, ".nii.gz", 1, _CT, report):
            found[f"{folder}/{case.identifier}"] = CtImage(A_FOLDER, case, CheckedReader(SimpleITKIO()))
    return found


def _of_dataset(dataset: RawDataset) -> dict[str, CtImage]:
    names = dataset.dataset_json.channel_names
    channel = next((number for number, name in enumerate(names) if name.casefold() == _CT.casefold()), None)
    if channel is None:
        raise UserError(f"{dataset.dataset_json.path}: no channel is CT, but {', '.join(names)}; give a dataset of CTs")
    if not dataset.cases:
        raise UserError(f"{dataset.folder}: no images; give another dataset")
    reader = reader_for(dataset.dataset_json, [dataset.path(dataset.cases[0].images[0])])
    images = {}
    for case in dataset.cases:
        files = tuple(map(dataset.path, case.images))
        if len(files) == len(names):  # else a file holds several channels
            images[case.identifier] = CtImage(dataset.name, Case(case.identifier, files[channel : channel + 1]), reader)
        else:
            images[case.identifier] = CtImage(dataset.name, Case(case.identifier, files), reader, channel)
    return images
