"""Layout: which files of a downloaded folder are which case's, and what is wrong with the folder, before any work."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nnunetv2_cdpd.conversion.declaration import FoundCase, SourceDataset
from nnunetv2_cdpd.errors import UserError

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
_MAX_LISTED = 8


@dataclass(frozen=True)
class Listing:
    """Every file below a folder, listed once.

    Names that begin with `.` or `__MACOSX` are left out: archives made on a Mac bring copies that only look like images.
    """

    folder: Path

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Relative paths with `/`, sorted; links to folders are followed, once each."""
        return tuple(sorted(self._walk(self.folder, "", set())))

    def _walk(self, folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir():
                    yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/", seen)
                elif entry.is_file():
                    yield prefix + entry.name

    def matches(self, template: str, case: str) -> Iterator[tuple[dict[str, str], Path]]:
        """Files that a template names, with what its {...} stand for."""
        pattern = template_pattern(template, case)
        for name in self.files:
            if match := pattern.fullmatch(name):
                yield match.groupdict(), self.folder / name

    def below(self, template: str, case: str) -> Iterator[tuple[dict[str, str], Path]]:
        """Files below the folders that a template names."""
        yield from self.matches(f"{template.rstrip('/')}/**/*", case)


def template_pattern(template: str, case: str) -> re.Pattern[str]:
    """Regular expression of a template, for whole relative paths."""
    parts = []
    for token in re.split(r"(\*\*/|\*|\{\w+\})", template):
        if token == "**/":
            parts.append(r"(?:[^/]+/)*")
        elif token == "*":
            parts.append(r"[^/]*")
        elif token.startswith("{"):
            name = token[1:-1]
            seen = f"(?P<{name}>" in "".join(parts)
            parts.append(f"(?P={name})" if seen else f"(?P<{name}>{case if name == 'case' else '[^/]+?'})")
        else:
            parts.append(re.escape(token))
    return re.compile(r"(?:.*/)?" + "".join(parts))


def find_downloaded_cases(dataset: SourceDataset, folder: Path) -> list[FoundCase]:
    """List the cases of a downloaded folder.

    Raises:
        UserError: The folder is not laid out as declared: what was expected, and what is there.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `cdpd sources {dataset.name}` tells what to download")
    listing = Listing(Path(os.path.abspath(folder)))
    cases = dataset.find(dataset, listing) if dataset.find else pair_files(dataset, listing)
    if not cases:
        raise layout_error(dataset, listing, "no case found")
    return sorted(cases, key=lambda case: _natural(case.case))


def pair_files(dataset: SourceDataset, listing: Listing) -> list[FoundCase]:
    """Images and labels by the templates of the declaration.

    Raises:
        UserError: Labels without image, images without label, two files for one case, or nothing at all.
    """
    images = _series(dataset, listing, dataset.images) if dataset.dicom else _single(dataset, listing, dataset.images, "image")
    masks = _masks(dataset, listing) if dataset.masks else {}
    if dataset.slices:
        labels = _series(dataset, listing, dataset.labels)
    else:
        labels = {} if dataset.masks else _single(dataset, listing, dataset.labels, "label")
    labelled = set(masks or labels)
    skipped = {case for erratum in dataset.errata if erratum.skip for case in erratum.cases}
    if not images:
        raise layout_error(dataset, listing, f"no image found ({' or '.join(dataset.images)})")
    if not labelled:
        raise layout_error(dataset, listing, f"no label found ({' or '.join(dataset.labels)})")
    if lonely := _ordered(labelled - set(images) - skipped):
        raise layout_error(dataset, listing, f"no image for the label{_plural(lonely)} of {_listed(lonely)}")
    if not dataset.unlabelled_images and (lonely := _ordered(set(images) - labelled - skipped)):
        raise layout_error(dataset, listing, f"no label for the image{_plural(lonely)} of {_listed(lonely)}")
    return [
        FoundCase(case, files, labels.get(case, ()), masks.get(case, {})) for case, files in images.items() if case in labelled
    ]


def layout_error(dataset: SourceDataset, listing: Listing, problem: str) -> UserError:
    """What was expected and what is there, as one error."""
    there = sorted(name for name in os.listdir(listing.folder) if not name.startswith("."))
    endings = Counter("".join(Path(name).suffixes[-2:]) for name in listing.files)
    kinds = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(4)) or "no files"
    archives = [name for name in there if name.endswith(_ARCHIVES)]
    hint = f"\n  unpack first: {_listed(archives)}" if archives else ""
    drawing = "\n".join(f"    {line}" for line in dataset.layout.strip("\n").splitlines())
    return UserError(
        f"{listing.folder}: {problem}; this does not look like {dataset.name}\n"
        f"  found: {_listed(there) or 'nothing'} ({kinds} in all){hint}\n  expected:\n{drawing}"
    )


def _single(dataset: SourceDataset, listing: Listing, templates: Iterable[str], what: str) -> dict[str, tuple[Path, ...]]:
    """Case -> its one file; an earlier template wins over a later one, two files of one template are a mistake."""
    found: dict[str, tuple[Path, ...]] = {}
    for template in templates:
        here: dict[str, Path] = {}
        for said, path in listing.matches(template, dataset.case):
            other = here.setdefault(said["case"], path)
            if other != path:
                raise layout_error(dataset, listing, f"case {said['case']} has two {what}s, {other} and {path}; remove one")
        found = {**{case: (path,) for case, path in here.items()}, **found}
    return found


def _series(dataset: SourceDataset, listing: Listing, templates: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    """Case -> all files below its folder."""
    found: dict[str, tuple[Path, ...]] = {}
    for template in templates:
        here: dict[str, list[Path]] = {}
        for said, path in listing.below(template, dataset.case):
            if path.name != "LICENSE" and path.suffix.lower() not in (".txt", ".xml", ".csv", ".json"):
                here.setdefault(said["case"], []).append(path)
        found = {**{case: tuple(files) for case, files in here.items()}, **found}
    return found


def _masks(dataset: SourceDataset, listing: Listing) -> dict[str, dict[str | int, Path]]:
    """Case -> structure -> its file; files of other structures are left alone."""
    found: dict[str, dict[str | int, Path]] = {}
    for template in dataset.labels:
        for said, path in listing.matches(template, dataset.case):
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
