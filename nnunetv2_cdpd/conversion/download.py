"""Download: a downloaded folder, and which of its files a template names."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Download:
    """A downloaded folder, its files listed once.

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
        """Files that a template names, with what its {...} stand for.

        The folder's own name may stand in the template too, but for nothing that {...} stands for.
        """
        pattern, own = template_pattern(template, case), f"{self.folder.name}/"
        for name in self.files:
            match = pattern.fullmatch(own + name)
            if match and all(match.start(group) >= len(own) for group in match.groupdict()):
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
