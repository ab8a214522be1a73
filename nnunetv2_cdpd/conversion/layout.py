"""Layout: which files of a downloaded folder are which case's, and what is wrong with the folder, before any work."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.errors import UserError, listed


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
    masks = _masks(download) if dataset.masks else {}
    labels = {} if dataset.masks else _files(download, dataset.labels, "label", folders=dataset.slices)
    labelled = set(masks or labels)
    skipped = set(dataset.known_errors(skip=True))
    if not images:
        raise download.error(f"no image found ({' or '.join(dataset.images)})")
    if not labelled:
        raise download.error(f"no label found ({' or '.join(dataset.labels)})")
    if lonely := sorted(labelled - set(images) - skipped, key=_natural):
        raise download.error(f"no image for the label{'s' * (len(lonely) > 1)} of {listed(lonely)}")
    if not dataset.unlabelled_images and (lonely := sorted(set(images) - labelled - skipped, key=_natural)):
        raise download.error(f"no label for the image{'s' * (len(lonely) > 1)} of {listed(lonely)}")
    return [
        FoundCase(case, files, labels.get(case, ()), masks.get(case, {})) for case, files in images.items() if case in labelled
    ]


def _files(download: Download, templates: Iterable[str], what: str, folders: bool) -> dict[str, tuple[Path, ...]]:
    """Case -> its one file, or where templates name folders all files below; an earlier template wins over a later one."""
    found: dict[str, tuple[Path, ...]] = {}
    for template in templates:
        here: dict[str, list[Path]] = {}
        for said, path in download.matches(f"{template.rstrip('/')}/**/*" if folders else template):
            if not folders or (path.name != "LICENSE" and path.suffix.lower() not in (".txt", ".xml", ".csv", ".json")):
                here.setdefault(said["case"], []).append(path)
        for case, (path, *others) in here.items():
            if others and not folders:
                raise download.error(f"case {case} has two {what}s, {path} and {others[0]}; remove one")
        found = {case: tuple(files) for case, files in here.items()} | found
    return found


def _masks(download: Download) -> dict[str, dict[str | int, Path]]:
    """Case -> structure -> its file; files of other structures are left alone."""
    found: dict[str, dict[str | int, Path]] = {}
    for template in download.dataset.labels:
        for said, path in download.matches(template):
            if download.dataset.values.get(said["structure"]) is not None:
                found.setdefault(said["case"], {}).setdefault(said["structure"], path)
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key by which case 2 comes before case 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
