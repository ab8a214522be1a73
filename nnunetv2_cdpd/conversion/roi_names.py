"""RoiNames: which structure a structure set or segmentation means by a name, as regular expressions that the user declares."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from unicodedata import normalize

import regex  # which stops where `re` would go on for ever

from nnunetv2_cdpd.errors import UserError, shortened

_LONGEST = 256  # DICOM allows 64 letters; nothing is looked for in more
_PATIENCE_S = 2.0  # for one name and one pattern, which take microseconds unless the pattern is one of those that never end


@dataclass(frozen=True)
class RoiNames:
    """Names by which structures go.

    patterns: Regular expression of whole names, capitals or not -> structure; None: known, and not wanted.
    """

    patterns: Mapping[str, str | None]

    def __post_init__(self) -> None:
        """Raise ValueError for what is no regular expression."""
        for pattern in self.patterns:
            try:
                re.compile(pattern)  # the grammar that people know
                regex.compile(pattern)
            except (re.error, regex.error, OverflowError, RecursionError, MemoryError) as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error}); `liver|leber` is one") from error

    def structure_of(self, name: str) -> str | None:
        """The structure that a name means; None: one that is not wanted.

        Spaces around a name count for nothing, as many within it as one.

        Raises:
            KeyError: No pattern matches the name.
            UserError: Those of two structures do, or it cannot be told in reasonable time.
        """
        plain = " ".join(normalize("NFC", name).split())
        found = {structure: text for text, pattern, structure in self._compiled if self._matches(text, pattern, plain)}
        wanted = [structure for structure in found if structure is not None]
        if len(wanted) > 1:
            patterns = " and ".join(f"{structure} ({found[structure]!r})" for structure in wanted)
            raise UserError(f"{shortened(name)} matches {patterns}; narrow one of the two in `values`")
        if not found:
            raise KeyError(name)
        return wanted[0] if wanted else None

    @staticmethod
    def _matches(text: str, pattern: "regex.Pattern[str]", name: str) -> bool:
        try:
            return len(name) <= _LONGEST and pattern.fullmatch(name, timeout=_PATIENCE_S) is not None
        except TimeoutError:
            raise UserError(
                f"{shortened(name)}: whether {text!r} matches it was not found in {_PATIENCE_S:g} s; write the pattern without a "
                "repetition within a repetition, as in (a+)+"
            ) from None

    @cached_property
    def _compiled(self) -> list[tuple[str, "regex.Pattern[str]", str | None]]:
        return [(text, regex.compile(text, regex.IGNORECASE), structure) for text, structure in self.patterns.items()]
