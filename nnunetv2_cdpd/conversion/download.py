"""Download: a downloaded folder, which of its files a template names, and an error that tells what is there instead."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import indent
from typing import Generic, Protocol, TypeVar
from unicodedata import normalize

from nnunetv2_cdpd.errors import UserError, listed

_ENDING = re.compile(r"(\.nii)?\.\w+$")  # of files, in whose letters capitals count for nothing
_OF_SYSTEMS = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin")  # in any folder, unasked
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")


class _Declared(Protocol):
    """What is asked here of a declaration; all that there is to know is a SourceDataset (declaration.py)."""

    @property
    def name(self) -> str: ...

    @property
    def case(self) -> str: ...

    @property
    def layout(self) -> str: ...


Declared = TypeVar("Declared", bound=_Declared)


@dataclass(frozen=True)
class Download(Generic[Declared]):
    """The downloaded folder of a collection, its files listed once.

    Names that begin with `.` and those of an operating system's own files are left out: archives made on a Mac bring copies
    that only look like images, Windows and network drives put theirs beside the slices of a scan.

    leave_out: Cases, as the collection names them or as case identifiers, of which nothing needs to be there.
    asked_for: Files that a template has named so far.
    lonely: Cases left out that have an image or a label only.
    told: What is to be said of files that no case is known to need.
    """

    dataset: Declared
    folder: Path
    leave_out: frozenset[str] = frozenset()
    asked_for: set[Path] = field(default_factory=set)
    lonely: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

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
                if entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
                    continue
                # A link may lead to itself, for which os.path has no error; of one that leads nowhere its case tells.
                path, is_link = entry.path, entry.is_symlink()
                if os.path.isdir(path) if is_link else entry.is_dir():
                    yield from self._walk(Path(path), f"{prefix}{entry.name}/", seen)
                elif (os.path.isfile(path) or not os.path.exists(path)) if is_link else entry.is_file():
                    yield prefix + entry.name

    def matches(self, template: str) -> Iterator[tuple[dict[str, str], Path]]:
        """Files that a template names, with what its {...} stand for.

        The folder's own name may stand in the template too, but for nothing that {...} stands for. A file that the template
        names x.nii.gz may have been unpacked to x.nii, as browsers and archivers do unasked.
        """
        pattern, own, names = template_pattern(template, self.dataset.case), f"{self.folder.name}/", self._names
        packed = template.lower().endswith(".nii.gz")
        for name in self.files:
            match = pattern.fullmatch(own + name)
            if match is None and packed and (unpacked := name.lower()).endswith(".nii") and f"{unpacked}.gz" not in names:
                match = pattern.fullmatch(f"{own}{name}.gz")
            if match and all(match.start(group) >= len(own) for group in match.groupdict()):
                self.asked_for.add(self.folder / name)
                # of an umlaut a Mac makes two letters, other systems one
                yield {group: normalize("NFC", said) for group, said in match.groupdict().items()}, self.folder / name

    @cached_property
    def _names(self) -> frozenset[str]:
        """Relative paths in small letters."""
        return frozenset(map(str.lower, self.files))

    def needed_file(self, name: str, tells: str) -> Path:
        """A file of this name beside the images and labels.

        Args:
            tells: What nothing else tells, for the message.

        Raises:
            UserError: There is none.
        """
        for _, path in self.matches(name):
            return path
        raise self.error(f"{name} is missing, which tells {tells}")

    def error(self, problem: str) -> UserError:
        """What was expected and what is there, as one error."""
        there = sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
        endings = Counter("".join(Path(name).suffixes[-2:]) for name in self.files)
        kinds = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(4)) or "no files"
        archives = [name for name in there if name.endswith(_ARCHIVES)]
        hint = f"\n  unpack first: {listed(archives)}" if archives else ""
        drawing = indent(self.dataset.layout.strip("\n"), "    ")
        return UserError(
            f"{self.folder}: {problem}; this does not look like {self.dataset.name}\n"
            f"  found: {listed(there) or 'nothing'} ({kinds} in all){hint}\n  expected:\n{drawing}"
        )


def template_pattern(template: str, case: str) -> re.Pattern[str]:
    """Regular expression of a template, for whole relative paths.

    Raises:
        ValueError: What stands for the case is no regular expression, or a placeholder is no word.
    """
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
            ending = "" if (found := _ENDING.search(token)) is None else found[0]
            parts.append(f"{re.escape(token[: len(token) - len(ending)])}(?i:{re.escape(ending)})")
    try:
        return re.compile(r"(?:.*/)?" + "".join(parts))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
