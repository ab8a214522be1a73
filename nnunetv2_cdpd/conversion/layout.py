"""Layout: which files of a downloaded folder are which case's, and what is wrong with the folder, before any work."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.conversion.shared_labels import labels_by_series
from nnunetv2_cdpd.conversion.slices import natural_key
from nnunetv2_cdpd.datasets.volume_files import is_image_file, not_taken
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.volumes.dicom import is_dicom
from nnunetv2_cdpd.volumes.nifti import is_nifti


def find_downloaded_cases(
    dataset: SourceDataset, folder: Path, report: Callable[[str], None] = lambda line: None, leave_out: Collection[str] = ()
) -> list[FoundCase]:
    """List the cases of a downloaded folder.

    Args:
        report: Called with a line on images and label maps there that are of no case.
        leave_out: Cases, by either name, that the user does without: an image or label of them may be missing.

    Raises:
        UserError: The folder is not laid out as declared: what was expected, and what is there; or one of `leave_out` is no case.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `cdpd sources {dataset.name}` tells what to download")
    download = Download(dataset, Path(os.path.abspath(folder)), frozenset(leave_out))
    cases = dataset.find(download) if dataset.find else pair_files(download)
    if not cases:
        raise download.error("no case found")
    known = {name for case in (*(case.case for case in cases), *download.lonely) for name in (case, dataset.identifier(case))}
    if unknown := [name for name in leave_out if name not in known]:
        raise UserError(f"argument leave_out {' '.join(unknown)}: no such case; cases are named like {cases[0].case}")
    for line in (*download.told, *_not_taken(download, cases)):
        report(f"note: {line}")
    return sorted(cases, key=lambda case: natural_key(case.case))


def pair_files(download: Download[SourceDataset]) -> list[FoundCase]:
    """Images and labels by the templates of the declaration.

    Raises:
        UserError: Labels without image, images without label, two files for one case, or nothing at all.
    """
    dataset = download.dataset
    images = files_by_case(download, dataset.images, "image", folders=dataset.dicom)
    labels = {} if dataset.masks else _labels(download, images)
    masks = _masks(download, dataset.labels if dataset.masks else dataset.mask_files)
    masks = {case: files for case, files in masks.items() if case not in labels}
    labelled = {*labels, *masks}
    skipped = set(dataset.known_errors(skip=True))
    if not images:
        raise download.error(f"no image found ({' or '.join(dataset.images)})")
    if not labelled:
        raise download.error(f"no label found ({' or '.join((*dataset.labels, *dataset.mask_files))})")
    lonely = set(images) ^ labelled
    download.lonely.update(case for case in lonely if {case, dataset.identifier(case)} & download.leave_out)
    skipped |= download.lonely
    labels_alone, images_alone = labelled - set(images) - skipped, set(images) - labelled - skipped
    for missing, there, alone, may in (
        ("image", "label", labels_alone, dataset.imageless_labels),
        ("label", "image", images_alone, dataset.unlabelled_images),
    ):
        if not may and (without := sorted(alone, key=natural_key)):
            raise download.error(
                f"no {missing} for the {there}{'s' * (len(without) > 1)} of {listed(without)}; get what is missing, or do "
                f"without by argument leave_out {without[0]}{' ...' * (len(without) > 1)}"
            )
    return [
        FoundCase(case, files, labels.get(case, ()), masks.get(case, {})) for case, files in images.items() if case in labelled
    ]


def _labels(download: Download[SourceDataset], images: Mapping[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
    dataset = download.dataset
    named = [template for template in dataset.labels if "{case}" in template or not dataset.rois]
    labels = files_by_case(download, named, "label", folders=dataset.slices, several=dataset.rois)
    shared = [_in_folder(template) for template in dataset.labels if template not in named]
    files = dict.fromkeys(path for template in shared for _, path in download.matches(template) if not _is_no_slice(path))
    without = {case: paths for case, paths in images.items() if case not in labels}
    return labels | (labels_by_series(without, files, download.told) if files else {})


def _in_folder(template: str) -> str:
    """The template of structure sets and segmentations, files or all below a folder."""
    return template if template.lower().endswith(".dcm") else f"{template.rstrip('/')}/**/*"


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


def files_by_case(
    download: Download[SourceDataset], templates: Iterable[str], what: str, folders: bool = False, several: bool = False
) -> dict[str, tuple[Path, ...]]:
    """Case -> its one file, or several where it may have them, or where a template names folders all files below.

    A template asks only for the cases that no earlier one has found; a NIfTI file is never that of a folder.
    """
    foreign = {path for template in download.dataset.foreign for _, path in download.matches(template)}
    found: dict[str, tuple[Path, ...]] = {}
    for template in templates:
        here: dict[str, list[Path]] = {}
        is_folder = (folders and not is_nifti(template)) or (several and _in_folder(template) != template)
        for said, path in download.matches(f"{template.rstrip('/')}/**/*" if is_folder else template):
            if said["case"] not in found and path not in foreign and not (is_folder and _is_no_slice(path)):
                here.setdefault(said["case"], []).append(path)
        for case, (path, *others) in here.items():
            if others and not is_folder and not several:
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
