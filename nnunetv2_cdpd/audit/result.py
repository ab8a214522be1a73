"""Audit: all that an audit found, for the terminal and for audit.json."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.audit.cases import AuditCase
from nnunetv2_cdpd.audit.checks import Finding
from nnunetv2_cdpd.audit.statistics import GeometryStatistics, VolumeStatistics
from nnunetv2_cdpd.errors import first_of
from nnunetv2_cdpd.same_scan.alignment import Pair
from nnunetv2_cdpd.same_scan.pairs import groups

JSON_VERSION = 1
_MOST_PAIRS = 20  # that are named


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    pairs: By index into `cases`; two cases that refer to one image file are no pair.
    listing: Problems of the datasets' own lists of cases.
    """

    cases: Sequence[AuditCase]
    classes: Sequence[VolumeStatistics]
    geometry: Sequence[GeometryStatistics]
    findings: Sequence[Finding]
    pairs: Sequence[Pair]
    listing: Sequence[str]

    @property
    def unread(self) -> dict[str, str]:
        """Case -> why files of it cannot be read."""
        return {case.name: "; ".join(case.unread) for case in self.cases if case.unread}

    @property
    def groups(self) -> list[list[int]]:
        return groups(len(self.cases), self.pairs)


def audit_summary(audit: Audit) -> str:
    """What was found, in a few lines for the terminal."""
    kinds = Counter(finding.kind for finding in audit.findings)
    lines = [f"cases: {len(audit.cases)}, findings: {len(audit.findings)}"]
    lines += [f"  {kind}: {count}" for kind, count in kinds.items()]
    lines += [f"  {problem}" for problem in audit.listing]
    lines.append(f"pairs of the same scan: {len(audit.pairs)}, groups of them: {len(audit.groups)}")
    pairs = [f"{audit.cases[p.first].name} = {audit.cases[p.second].name}  {p.score:.2f}" for p in audit.pairs]
    lines += [f"  {pair}" for pair in first_of(pairs, _MOST_PAIRS)]
    return "\n".join(lines)


def audit_as_json(audit: Audit, min_score: float) -> dict[str, Any]:
    """The content of audit.json; docs/audit.md explains it."""
    cases = audit.cases
    return {
        "version": JSON_VERSION,
        "made_by": f"nnunetv2-cdpd {__version__}",
        "listing": list(audit.listing),
        "findings": [asdict(finding) for finding in audit.findings],
        "duplicates": {
            "min_score": min_score,
            "pairs": [
                {
                    "first": cases[pair.first].name,
                    "second": cases[pair.second].name,
                    "score": round(pair.score, 4),
                    "shared": round(pair.shared, 4),
                    "mirrored": pair.mirrored,
                }
                for pair in audit.pairs
            ],
            "groups": [[cases[index].name for index in group] for group in audit.groups],
        },
        "classes": [
            {
                "dataset": row.dataset,
                "source": row.source,
                "class": row.name,
                "cases": row.cases,
                "present": len(row.volumes),
                **{f"{name}_ml": _number(ml) for name, ml in zip(("smallest", "median", "largest"), row.range_ml)},
                "outliers": list(row.outliers),
            }
            for row in audit.classes
        ],
        "geometry": [asdict(row) for row in audit.geometry],
        "cases": {case.name: _case_json(case) for case in cases},
    }


def _case_json(case: AuditCase) -> dict[str, Any]:
    return {
        "source": case.source.name,
        "problems": list(case.problems),
        "image": None if case.fingerprint is None else asdict(case.fingerprint.facts),
        "compared": case.fingerprint is not None and case.fingerprint.volume is not None,
        "volumes_ml": {name: _number(facts.ml) for name, facts in case.found().items()},
    }


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
