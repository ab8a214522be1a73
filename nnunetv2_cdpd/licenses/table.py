"""The table of licenses: what each allows whoever trains a network on the data, or passes the weights on.

None in a column means that the license does not say, or that it is not settled; it is never taken as a yes. The table follows the
texts of the licenses, and is no legal advice: a data use agreement, a contract or the law may say more.

Licenses without derivatives (ND): version 4.0 lets adapted material be made, not shared (section 2(a)(1)(B)), so research is
allowed and a product is not; earlier versions do not let it be made, so research is not settled.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class License:
    """A row of the table.

    identifier: SPDX's; for what SPDX does not list one of its form, LicenseRef-...
    commercial: Products may be made of it.
    research: Research that earns no money may use it.
    redistribution: It may be passed on.
    share_alike: What is adapted from it has to be passed on under the same license.
    adaptation: What is adapted from it may be passed on at all.
    names: Other names by which it goes, beside the identifier.
    """

    identifier: str
    commercial: bool | None
    research: bool | None
    redistribution: bool | None
    share_alike: bool = False
    adaptation: bool | None = True
    names: tuple[str, ...] = ()

    @property
    def is_spdx(self) -> bool:
        return not self.identifier.startswith(_OTHERS)


_OTHERS = "LicenseRef-"
OWN = f"{_OTHERS}own"  # what a user states for data of their own


def _creative_commons(kind: str, version: str) -> License:
    """One of the six licenses in a version, or without one, as many texts name it."""
    noncommercial, no_derivatives, share_alike = (part in kind.split("-") for part in ("NC", "ND", "SA"))
    return License(
        f"CC-{kind}-{version}" if version else f"{_OTHERS}CC-{kind}",
        commercial=not noncommercial and not no_derivatives,
        research=True if not no_derivatives or version == "4.0" else None,
        redistribution=True,
        share_alike=share_alike,
        adaptation=not no_derivatives,
        names=() if version else (f"CC-{kind}",),
    )


def _free(identifier: str, *names: str, share_alike: bool = False) -> License:
    return License(identifier, commercial=True, research=True, redistribution=True, share_alike=share_alike, names=names)


def _research(identifier: str, *names: str) -> License:
    return License(identifier, commercial=False, research=True, redistribution=None, adaptation=None, names=names)


LICENSES = (
    *(
        _creative_commons(kind, version)
        for kind in ("BY", "BY-SA", "BY-ND", "BY-NC", "BY-NC-SA", "BY-NC-ND")
        for version in ("1.0", "2.0", "2.5", "3.0", "4.0", "")
    ),
    _free("CC0-1.0", "CC0", "CC-Zero", "CC0 1.0 Universal"),
    _free("PDDL-1.0", "PDDL"),
    _free(f"{_OTHERS}public-domain", "public domain"),
    _free("ODC-By-1.0", "ODC-By"),
    _free("ODbL-1.0", "ODbL", share_alike=True),
    _free("CDLA-Permissive-1.0"),
    _free("CDLA-Permissive-2.0"),
    _free("CDLA-Sharing-1.0", share_alike=True),
    _free("MIT"),
    _free("Apache-2.0", "Apache"),
    _free("BSD-2-Clause"),
    _free("BSD-3-Clause"),
    _free("ISC"),
    _free("Unlicense"),
    _free("MPL-2.0", share_alike=True),
    *(
        _free(f"{family}-{version}-{kind}", *((f"{family}-{version}",) if kind == "only" else ()), share_alike=True)
        for family, versions in (("GPL", ("2.0", "3.0")), ("LGPL", ("2.1", "3.0")), ("AGPL", ("3.0",)))
        for version in versions
        for kind in ("only", "or-later")
    ),
    _research(f"{_OTHERS}research-only", "research only", "for research only", "academic research only", "research use only"),
    _research(f"{_OTHERS}non-commercial", "non-commercial", "non-commercial use only", "non-commercial research only"),
    License(OWN, commercial=True, research=True, redistribution=None, names=("own", "own data")),
)
