"""Terms: what a text about a license means, by the table; a text that is no name in it means nothing known.

A text is one name in one of its spellings ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0", its link at creativecommons.org), or an SPDX
expression of names with AND and OR. Words around a name ("CC BY 4.0, images on request") may take away what the name gives, so
such a text is not read as the name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from nnunetv2_cdpd.errors import listed
from nnunetv2_cdpd.licenses.table import LICENSES, License

USES = ("commercial", "research")
LONGEST = 300  # letters of a text that can be a name
_WORDS = (  # of Creative Commons' own titles, and what else says nothing
    (r"\bcreative[ -]commons\b", "cc"),
    (r"\battribution\b", "by"),
    (r"\bnon-?commercial\b(?=.*\d)", "nc"),
    (r"\bshare-?alike\b", "sa"),
    (r"\bno-?deriv(ative)?s\b", "nd"),
    (r"\b(international|unported|generic|deed|the|licen[sc]ed?)\b", " "),
)
_LINK = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses/([a-z-]+)/([\d.]+)|publicdomain/(zero)/1\.0)(?:[/?#]\S*)?", re.I
)
_TWICE = re.compile(r"([^()]+)\(([^()]+)\)")  # "Creative Commons Attribution 4.0 International (CC BY 4.0)"


@dataclass(frozen=True)
class Terms:
    """What may be done with data or weights.

    text: As it was stated; None: nothing was.
    alternatives: Of licenses that bind together, those one of which may be chosen; none: not known.
    """

    text: str | None
    alternatives: tuple[tuple[License, ...], ...] = ()

    def allows(self, use: str) -> bool | None:
        """Whether a use (a column of the table) is allowed by one of the alternatives; None: not known."""
        answers = [_all([getattr(one, use) for one in together]) for together in self.alternatives]
        return True if True in answers else None if None in answers or not answers else False

    @property
    def identifiers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.identifier for together in self.alternatives for one in together))

    @property
    def spdx(self) -> str | None:
        """The one SPDX identifier that says it all, None where there is none."""
        names = self.identifiers
        return names[0] if len(names) == 1 and not names[0].startswith("LicenseRef-") else None

    @property
    def share_alike(self) -> tuple[str, ...]:
        """Identifiers of the licenses under which adapted material has to be passed on."""
        found = (one.identifier for together in self.alternatives for one in together if one.share_alike)
        return tuple(dict.fromkeys(found))

    def why_not(self, use: str) -> str:
        """Why a use is not allowed, as the end of a line."""
        if self.text is None:
            return "no license is stated"
        if not self.alternatives:
            return "its license is none that the table knows"
        asked = [one for together in self.alternatives for one in together if getattr(one, use) is not True]
        names = listed(list(dict.fromkeys(one.identifier for one in asked)))
        if any(getattr(one, use) is None for one in asked) and self.allows(use) is None:
            return f"{names}: whether it allows {use} use is not settled"
        if all(one.adaptation is False and "NC" not in one.identifier.split("-") for one in asked):
            return f"{names} lets nothing adapted be passed on"
        return f"{names} allows no {use} use"


def read_terms(text: str | None) -> Terms:
    """What a text means."""
    if text is None or not text.strip():
        return Terms(None)
    if len(text) > LONGEST:
        return Terms(text)
    alternatives = []
    for choice in re.split(r"\s+OR\s+", text.strip()):
        together = [_license(name) for name in re.split(r"\s+AND\s+", choice)]
        alternatives.append(tuple(one for one in together if one is not None) if None not in together else ())
    return Terms(text, tuple(alternatives) if all(alternatives) else ())


def bound_by(terms: Iterable[Terms], text: str | None) -> Terms:
    """Terms of which all bind, as of two statements that differ; not known where one is not.

    Args:
        text: Of all of them.
    """
    joined: tuple[tuple[License, ...], ...] = ((),)
    for each in terms:
        joined = tuple((*one, *other) for one in joined for other in each.alternatives)
    return Terms(text, joined if all(joined) else ())


def _all(answers: list[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def _license(name: str) -> License | None:
    """The license of a name in one of its spellings."""
    if (found := _LINK.fullmatch(name.strip())) is not None:
        name = "CC0-1.0" if found[3] else f"CC-{found[1]}-{found[2]}"
    elif (both := _TWICE.fullmatch(name.strip())) is not None:
        one, other = _license(both[1]), _license(both[2])
        return one if one is other else None
    return _by_key().get(_key(name)) if re.fullmatch(r"[\w\s.,+-]+", name, re.ASCII) else None


def _key(name: str) -> str:
    """A name without what its spellings differ in."""
    key = name.casefold()
    for pattern, short in _WORDS:
        key = re.sub(pattern, short, key)
    key = re.sub(r"[^a-z0-9.+]+", "-", key).strip("-.")
    return re.sub(r"^(cc-[a-z-]+-\d|[al]?gpl-\d|apache-\d)$", r"\1.0", re.sub(r"-v(?:ersion-)?(?=\d)", "-", key))


@cache
def _by_key() -> dict[str, License]:
    return {_key(name): row for row in LICENSES for name in (row.identifier, *row.names)}
