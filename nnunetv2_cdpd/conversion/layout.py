"""Layout: which files of a downloaded folder are which case's, and what is wrong with the folder, before any work."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.volumes.nifti import is_nifti


def find_downloaded_cases(dataset: SourceDataset, folder: Path) -> list[FoundCase]:
    """List the cases of a downloaded folder.

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
    return sorted(cases, key=lambda case: _natural(case.case))


def pair_files(download: Download) -> list[FoundCase]:
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
    if not dataset.imageless_labels and (lonely := sorted(labelled - set(images) - skipped, key=_natural)):
        raise download.error(f"no image for the label{'s' * (len(lonely) > 1)} of {listed(lonely)}")
    if not dataset.unlabelled_images and (lonely := sorted(set(images) - labelled - skipped, key=_natural)):
        raise download.error(f"no label for the image{'s' * (len(lonely) > 1)} of {listed(lonely)}")
    return [
        FoundCase(case, files, labels.get(case, ()), masks.get(case, {})) for case, files in images.items() if case in labelled
    ]


def _files(download: Download, templates: Iterable[str], what: str, folders: bool) -> dict[str, tuple[Path, ...]]:
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


def _masks(download: Download, templates: Iterable[str]) -> dict[str, dict[str | int, Path]]:
    """Case -> structure -> its file; files of other structures are left alone."""
    found: dict[str, dict[str | int, Path]] = {}
    for template in templates:
        for said, path in download.matches(template):
            if download.dataset.values.get(said["structure"]) is not None:
                found.setdefault(said["case"], {}).setdefault(said["structure"], path)
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key by which case 2 comes before case 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
