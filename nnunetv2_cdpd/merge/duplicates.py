"""The same scan in several cases of a merge, or in a test set: which cases stay together, and which are left out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.datasets.dataset_json import FILE_NAME
from nnunetv2_cdpd.datasets.names import as_id
from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.merge.collect import MergedCase

MAX_NAMED = 5


@dataclass(frozen=True)
class Duplicates:
    """What a search found, for cdpd_duplicates.json.

    pairs: Images of the same scan, by the names of their cases.
    groups: Case identifiers that show the same scan, of the cases that stay; each group has at least two.
    left_out: Case identifier -> why.
    """

    pairs: list[dict[str, Any]]
    groups: list[list[str]]
    left_out: dict[str, str]


def held_back_images(given: Sequence[str | int | Path], file_ending: str) -> dict[Path, str]:
    """First channel of every image that must not be trained on -> a name to call it by.

    Args:
        given: Datasets (id, name or folder), of which training and test images count, and folders of images.

    Raises:
        UserError: Something given is neither, or holds no image.
    """
    images: dict[Path, str] = {}
    for each in given:
        folder = Path(str(each)).expanduser()
        if as_id(each) is None and folder.is_dir() and not (folder / FILE_NAME).is_file():
            found = _images_in(folder, file_ending)
        else:
            dataset = read_dataset(each)
            folder = dataset.folder
            found = [dataset.path(case.images[0]) for case in dataset.cases]
            found += _images_in(folder / "imagesTs", dataset.dataset_json.file_ending)
        if not found:
            raise UserError(
                f"argument exclude_duplicates_of: {folder} holds no image that ends in {file_ending}; give another folder"
            )
        images.update((path, f"{folder.name}/{path.name}") for path in found)
    return images


def _images_in(folder: Path, file_ending: str) -> list[Path]:
    """The first channels, or all files where none is numbered as such."""
    files = sorted(Path(os.path.abspath(folder)).glob(f"[!.]*{file_ending}"))
    return [file for file in files if file.name.endswith(f"_0000{file_ending}")] or files


def find_duplicates(
    cases: Sequence[MergedCase],
    held_back: Mapping[Path, str],
    *,
    num_processes: int,
    progress: bool,
    report: Callable[[str], None],
    keep: bool = True,
) -> Duplicates:
    """Search the cases of a merge for scans that are there twice or are held back.

    Args:
        held_back: As `held_back_images` returns it.
        keep: Keep fingerprints for later searches.

    Raises:
        UserError: All cases of a source would be left out.
    """
    from nnunetv2_cdpd.same_scan.pairs import find_pairs, groups  # with scipy, which processes of a case spare
    from nnunetv2_cdpd.same_scan.store import fingerprints_of

    cases_of: dict[Path, list[MergedCase]] = {}
    for case in cases:
        cases_of.setdefault(case.images[0], []).append(case)
    images = list(dict.fromkeys([*cases_of, *held_back]))
    names = [_name(cases_of.get(image, ()), held_back.get(image)) for image in images]
    taken = fingerprints_of(images, num_processes=num_processes, progress=progress, keep=keep).done
    fingerprints = [taken.get(str(image)) for image in images]
    _tell_missing([name for name, its in zip(names, fingerprints) if its is None or its.volume is None], report)
    found = find_pairs(fingerprints, progress=progress)
    grouped = {index: tuple(group) for group in groups(len(images), found) for index in group}
    scores = {frozenset((pair.first, pair.second)): pair.score for pair in found}
    left_out: dict[str, str] = {}
    together: list[list[str]] = []
    for index, image in enumerate(images):
        group = grouped.get(index, (index,))
        held = [other for other in group if images[other] in held_back]
        if held and image in cases_of:
            nearest = max(held, key=lambda other: 2.0 if other == index else scores.get(frozenset((index, other)), 0.0))
            score = scores.get(frozenset((index, nearest)))
            how = "is the same file as" if nearest == index else "shows the same scan as"
            why = f"{how} {held_back[images[nearest]]}" + ("" if score is None else f" (score {score:.2f})")
            left_out.update((case.identifier, why) for case in cases_of[image])
        elif not held and index == group[0]:
            members = [case.identifier for other in group for case in cases_of[images[other]]]
            together += [members] if len(members) > 1 else []
    _check_sources(cases, left_out)
    pairs = [
        {"first": names[pair.first], "second": names[pair.second], "score": round(pair.score, 4), "mirrored": pair.mirrored}
        for pair in found
    ]
    return Duplicates(pairs, together, left_out)


def _name(cases: Sequence[MergedCase], held_back: str | None) -> str:
    return ", ".join([*(case.identifier for case in cases), *([held_back] if held_back else [])])


def _tell_missing(missing: Sequence[str], report: Callable[[str], None]) -> None:
    """Say which images were not compared: what is not compared may be there twice."""
    if missing:
        report(
            f"note: not searched for the same scan, as they cannot be read, are not 3D or show too little of a body: "
            f"{listed(list(missing), MAX_NAMED)}"
        )


def _check_sources(cases: Sequence[MergedCase], left_out: Mapping[str, str]) -> None:
    staying = {case.source for case in cases if case.identifier not in left_out}
    if empty := sorted({case.source for case in cases} - staying):
        raise UserError(
            f"argument exclude_duplicates_of leaves out every case of source {', '.join(empty)}; take that dataset out, or "
            "give only the images that the test needs"
        )
