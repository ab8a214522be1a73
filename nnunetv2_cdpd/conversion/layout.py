"""Layout: which files of a downloaded folder are which case's, and what is wrong with the folder, before any work."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.conversion.slices import natural_key
from nnunetv2_cdpd.datasets.volume_files import is_image_file, not_taken
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.volumes.dicom import is_dicom
from nnunetv2_cdpd.volumes.nifti import is_nifti


def find_downloaded_cases(
    dataset: SourceDataset, folder: Path, report: Callable[[str], None] = lambda line: None
) -> list[FoundCase]:
    """List the cases of a downloaded folder.

    Args:
        report: Called with a line on images and label maps there that are of no case.

    Raises:
        UserError: The folder is not laid out as declared: what was expected, and what is there.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `cdpd sources {dataset.name}` tells what to download")
    download = Download(dataset, Path(os.path.abspath(folder)))
    cases = dataset.find(download) if dataset.find else pair_files(download)
    if not cases:
        raise download.error("no case found")
    for line in _not_taken(download, cases):
        report(f"note: {line}")
    return sorted(cases, key=lambda case: natural_key(case.case))


def pair_files(download: Download[SourceDataset]) -> list[FoundCase]:
    """Images and labels by the templates of the declaration.

    Raises:
        UserError: Labels without image, images without label, two files for one case, or nothing at all.
    """
    dataset = download.dataset
    images = _files(download, dataset.images, "image", folders=dataset.dicom)
    labels = {} if dataset.masks else _files(download, dataset.labels, "label", folders=dataset.slices)
    masks = _masks(download, dataset.labels if dataset.masks else dataset.mask_files)
    masks = {case: files for case, files in masks.items() if case not in labels}
    labelled = {*labels, *masks}
    skipped = set(dataset.known_errors(skip=True))
    if not images:
        raise download.error(f"no image found ({' or '.join(dataset.images)})")
    if not labelled:
        raise download.error(f"no label found ({' or '.join((*dataset.labels, *dataset.mask_files))})")
    if not dataset.imageless_labels and (lonely := sorted(labelled - set(images) - skipped, key=natural_key)):
        raise download.error(f"no image for the label{'s' * (len(lonely) > 1)} of {listed(lonely)}")
    if not dataset.unlabelled_images and (lonely := sorted(set(images) - labelled - skipped, key=natural_key)):
        raise download.error(f"no label for the image{'s' * (len(lonely) > 1)} of {listed(lonely)}")
    return [
        FoundCase(case, files, labels.get(case, ()), masks.get(case, {})) for case, files in images.items() if case in labelled
    ]


def _not_taken(download: Download[SourceDataset], cases: Iterable[FoundCase]) -> list[str]:
    """A line on the images, label maps and masks that are of no case, though they look like it."""
    dataset, asked_for = download.dataset, set(download.asked_for)
    paths = [download.folder / name for name in download.files]
    series = {path.parent for case in cases if len(case.image) > 1 for path in case.image}
    labels = {path for case in cases for path in case.label}
    asked_for -= {path for path in paths if path.parent in series and is_nifti(path)} - labels
    for template in (*dataset.mask_files, *(dataset.labels if dataset.masks else ())):
        asked_for -= {path for said, path in download.matches(template) if said["structure"] not in dataset.values}
    left = [path for path in paths if path not in asked_for and (is_image_file(path.name) or (dataset.dicom and is_dicom(path)))]
    names = [path.relative_to(download.folder) for path in left]
    return not_taken(download.folder, _grouped(names), f"because nothing in the declaration of {dataset.name} names them")


def _grouped(names: Sequence[Path], most: int = 10) -> list[str]:
    """Names one by one; of many, how often each file name is there, or how many files each folder has."""
    if len(names) <= most:
        return [name.as_posix() for name in names]
    files, folders = Counter(name.name for name in names), Counter(name.parent.as_posix() for name in names)
    return [f"{key} ({count})" for key, count in min(files, folders, key=len).items()]


def _files(download: Download[SourceDataset], templates: Iterable[str], what: str, folders: bool) -> dict[str, tuple[Path, ...]]:
    """Case -> its one file, or where a template names folders all files below.

    A template asks only for the cases that no earlier one has found; a NIfTI file is never that of a folder.
    """
    foreign = {path for template in download.dataset.foreign for _, path in download.matches(template)}
    found: dict[str, tuple[Path, ...]] = {}
    for template in templates:
        here: dict[str, list[Path]] = {}
        is_folder = folders and not is_nifti(template)
        for said, path in download.matches(f"{template.rstrip('/')}/**/*" if is_folder else template):
            if said["case"] not in found and path not in foreign and not (is_folder and _is_no_slice(path)):
                here.setdefault(said["case"], []).append(path)
        for case, (path, *others) in here.items():
            if others and not is_folder:
                raise download.error(f"case {case} has two {what}s, {path} and {others[0]}; remove one")
        found |= {case: tuple(files) for case, files in here.items()}
    return found


def _is_no_slice(path: Path) -> bool:
    """Of what lies in the folder of a series: what tools leave beside it."""
    return path.name == "LICENSE" or path.suffix.lower() in (".txt", ".xml", ".csv", ".json") or is_nifti(path)


def _masks(download: Download[SourceDataset], templates: Iterable[str]) -> dict[str, dict[str | int, Path]]:
    """Case -> structure -> its file; files of other structures are left alone."""
    found: dict[str, dict[str | int, Path]] = {}
    for template in templates:
        for said, path in download.matches(template):
            if download.dataset.values.get(said["structure"]) is not None:
                found.setdefault(said["case"], {}).setdefault(said["structure"], path)
    return found
