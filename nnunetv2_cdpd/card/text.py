"""Text of others for a card: without control characters, paths and case identifiers, of a bounded length; Markdown escaped."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

MOST_LETTERS = 300  # of a text
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # categories: control, formatting (direction too), none of Unicode's
_LEAST_LETTERS = 4  # of a case identifier that is looked for in texts; shorter ones are parts of words
_ROOTS = "home|root|mnt|media|data|users|scratch|tmp|var|srv|nfs|work|opt|volumes|gpfs|lustre|projects?"
_REST = r"""[^,;"'<>|()\[\]]*"""  # names of folders may hold spaces
_PATH = re.compile(
    rf"""(?:\bfile:{_REST}|(?<![\w:/.])(?:[a-z]:[\\/]|\\\\\w|~[\\/]|/(?:(?:{_ROOTS})\b|[^/\s]+/)){_REST})""", re.IGNORECASE
)
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&#~$!])|((?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word means nothing
_AT_START = re.compile(r"^(?:([-+=:])(?=[-+=:\s]|$)|(\d+)(?=[.)](?:\s|$)))")  # what would begin a list, a rule or a heading


@dataclass(frozen=True)
class Plain:
    """Makes plain lines of texts.

    cases: Case identifiers, which may be patients' names.
    """

    cases: Collection[str] = field(default_factory=frozenset)

    def __call__(self, text: Any, most: int = MOST_LETTERS) -> str:
        """A text as one line of at most `most` letters and the sign that it goes on; paths and case identifiers are taken out."""
        line = one_plain_line(text, 40 * most)
        for case in self.cases:
            if len(case) >= _LEAST_LETTERS and case in line:
                line = line.replace(case, "[case]")
        line = _PATH.sub("[path]", line)
        return line if len(line) <= most else f"{line[:most].rstrip()}…"

    def name(self, text: Any) -> str:
        """A name, such as of a class: case identifiers are not looked for."""
        return Plain()(text, 100)


def one_plain_line(text: Any, most: int) -> str:
    """The first letters of a text, without what cannot be seen and what breaks lines."""
    line = unicodedata.normalize("NFC", str(text)[:most])
    shown = "".join(" " if unicodedata.category(letter) in _INVISIBLE else letter for letter in line)
    return " ".join(shown.split())


def plain_cases(identifiers: Iterable[Any]) -> Plain:
    """Knows the case identifiers, the longest first, so that none is left as a part of another."""
    return Plain(tuple(sorted({str(one) for one in identifiers}, key=len, reverse=True)))


def escaped(value: Any) -> str:
    """A text that Markdown shows as it is, wherever in a line it stands, in a table too; no HTML comes out of it."""
    text = _MARKDOWN.sub(lambda found: f"\\{found[0]}", one_plain_line(value, 10**6))
    return _AT_START.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\", text)
