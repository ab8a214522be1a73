"""Layout: which files of a downloaded folder are which case's, and what is wrong with the folder, before any work."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.conversion.download import Download
from nnunetv2_cdpd.errors import UserError

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
_MAX_LISTED = 8


def find_downloaded_cases(dataset: SourceDataset, folder: Path) -> list[FoundCase]:
    """List the cases of a downloaded folder.

    Raises:
        UserError: The folder is not laid out as declared: what was expected, and what is there.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `cdpd sources {dataset.name}` tells what to download")
    download = Download(Path(os.path.abspath(folder)))
    cases = dataset.find(dataset, download) if dataset.find else pair_files(dataset, download)
    if not cases:
        raise layout_error(dataset, download, "no case found")
    return sorted(cases, key=lambda case: _natural(case.case))


def pair_files(dataset: SourceDataset, download: Download) -> list[FoundCase]:
    """Images and labels by the templates of the declaration.

    Raises:
        UserError: Labels without image, images without label, two files for one case, or nothing at all.
    """
    images = _found(dataset, download, dataset.images, "image", folders=dataset.dicom)
    labels = {} if dataset.masks else _found(dataset, download, dataset.labels, "label", folders=dataset.slices)
    masks = _masks(dataset, download, dataset.labels if dataset.masks else dataset.mask_files)
    masks = {case: files for case, files in masks.items() if case not in labels}
    labelled = {*labels, *masks}
    skipped = {case for erratum in dataset.errata if erratum.skip for case in erratum.cases}
    if not images:
        raise layout_error(dataset, download, f"no image found ({' or '.join(dataset.images)})")
    if not labelled:
        raise layout_error(dataset, download, f"no label found ({' or '.join((*dataset.labels, *dataset.mask_files))})")
    if not dataset.imageless_labels and (lonely := _ordered(labelled - set(images) - skipped)):
        raise layout_error(dataset, download, f"no image for the label{_plural(lonely)} of {_listed(lonely)}")
    if not dataset.unlabelled_images and (lonely := _ordered(set(images) - labelled - skipped)):
        raise layout_error(dataset, download, f"no label for the image{_plural(lonely)} of {_listed(lonely)}")
    return [
        FoundCase(case, files, labels.get(case, ()), masks.get(case, {})) for case, files in images.items() if case in labelled
    ]


def layout_error(dataset: SourceDataset, download: Download, problem: str) -> UserError:
    """What was expected and what is there, as one error."""
    there = sorted(name for name in os.listdir(download.folder) if not name.startswith("."))
    endings = Counter("".join(Path(name).suffixes[-2:]) for name in download.files)
    kinds = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(4)) or "no files"
    archives = [name for name in there if name.endswith(_ARCHIVES)]
    hint = f"\n  unpack first: {_listed(archives)}" if archives else ""
    drawing = "\n".join(f"    {line}" for line in dataset.layout.strip("\n").splitlines())
    return UserError(
        f"{download.folder}: {problem}; this does not look like {dataset.name}\n"
        f"  found: {_listed(there) or 'nothing'} ({kinds} in all){hint}\n  expected:\n{drawing}"
    )


def _found(
    dataset: SourceDataset, download: Download, templates: Iterable[str], what: str, folders: bool
) -> dict[str, tuple[Path, ...]]:
    """Case -> its files; a template asks only for the cases that no earlier one has found."""
    foreign = {path for template in dataset.foreign for _, path in download.matches(template, dataset.case)}
    found: dict[str, tuple[Path, ...]] = {}
    for template in templates:
        here: dict[str, list[Path]] = {}
        is_folder = folders and not is_nifti(template)
        for said, path in (download.below if is_folder else download.matches)(template, dataset.case):
            if said["case"] not in found and path not in foreign and not (is_folder and _is_no_slice(path)):
                here.setdefault(said["case"], []).append(path)
        for case, (path, *others) in here.items():
            if others and not is_folder:
                raise layout_error(dataset, download, f"case {case} has two {what}s, {path} and {others[0]}; remove one")
        found |= {case: tuple(files) for case, files in here.items()}
    return found


def is_nifti(name: str | Path) -> bool:
    return str(name).lower().endswith((".nii", ".nii.gz"))


def _is_no_slice(path: Path) -> bool:
    """Of what lies in the folder of a series: what its tools leave beside it."""
    return path.name == "LICENSE" or path.suffix.lower() in (".txt", ".xml", ".csv", ".json") or is_nifti(path)


def _masks(dataset: SourceDataset, download: Download, templates: Iterable[str]) -> dict[str, dict[str | int, Path]]:
    """Case -> structure -> its file; files of other structures are left alone."""
    found: dict[str, dict[str | int, Path]] = {}
    for template in templates:
        for said, path in download.matches(template, dataset.case):
            if dataset.values.get(said["structure"]) is not None:
                found.setdefault(said["case"], {}).setdefault(said["structure"], path)
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key by which case 2 comes before case 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _ordered(cases: Iterable[str]) -> list[str]:
    return sorted(cases, key=_natural)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else "")


def _plural(names: list[str]) -> str:
    return "s" if len(names) > 1 else ""
