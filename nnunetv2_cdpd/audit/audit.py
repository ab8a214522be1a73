"""audit_datasets: read nnU-Net raw datasets, check them, and find the same scan in several cases."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

from nnunetv2.configuration import default_num_processes
from nnunetv2.paths import nnUNet_raw

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.audit.cases import AuditCase, read_cases
from nnunetv2_cdpd.audit.checks import Finding, check_cases
from nnunetv2_cdpd.audit.duplicates import SAME_SCAN, Pair, find_pairs, groups
from nnunetv2_cdpd.audit.statistics import (
    ClassStatistics,
    GeometryStatistics,
    class_statistics,
    geometry_statistics,
)
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import write_json
from nnunetv2_cdpd.merge.inputs import read_dataset

JSON_FILE = "audit.json"
PAGE_FILE = "audit.html"
DEFAULT_PICTURES = 12
JSON_VERSION = 1


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    pairs: By index into `cases`; two cases that refer to one image file are no pair.
    listing: Problems of the datasets' own lists of cases.
    """

    cases: Sequence[AuditCase]
    classes: Sequence[ClassStatistics]
    geometry: Sequence[GeometryStatistics]
    findings: Sequence[Finding]
    pairs: Sequence[Pair]
    listing: Sequence[str]

    @property
    def groups(self) -> list[list[int]]:
        return groups(len(self.cases), self.pairs)


def audit_datasets(
    datasets: Sequence[str | int | Path],
    output: str | Path,
    *,
    min_score: float = SAME_SCAN,
    num_pictures: int = DEFAULT_PICTURES,
    num_processes: int = default_num_processes,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Audit:
    """Audit datasets and write audit.json and audit.html.

    Args:
        datasets: Ids, names or folders, each once.
        output: Folder of the two files; made where it is not there.
        min_score: From which two images count as the same scan.
        num_pictures: Cases with findings, and pairs, of which the page shows pictures.

    Raises:
        UserError: A dataset cannot be read, or none of its images can.
    """
    from nnunetv2_cdpd.audit.page import write_page

    raw_folder = Path(os.path.abspath(nnUNet_raw.require())) if nnUNet_raw.is_set() else Path.cwd()
    inputs = [read_dataset(dataset, raw_folder) for dataset in datasets]
    folders = [dataset.folder for dataset in inputs]
    if twice := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        raise UserError(f"{', '.join(twice)}: given twice; give each dataset once")
    cases = read_cases(inputs, num_processes=num_processes, progress=progress)
    if cases and all(case.fingerprint is None and case.labels is None for case in cases):
        raise UserError(f"none of {len(cases)} cases can be read; {cases[0].name}: {', '.join(cases[0].problems)}")
    classes = class_statistics(cases)
    audit = Audit(
        cases,
        classes,
        geometry_statistics(cases),
        check_cases(cases, classes),
        _pairs(cases, min_score, progress),
        [f"{dataset.name}: {problem}" for dataset in inputs for problem in dataset.problems],
    )
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / JSON_FILE, as_json(audit, min_score))
    write_page(output / PAGE_FILE, audit, num_pictures)
    report(summary(audit))
    report(f"written to {output / JSON_FILE} and {output / PAGE_FILE}")
    return audit


def _pairs(cases: Sequence[AuditCase], min_score: float, progress: bool) -> list[Pair]:
    """Pairs among the images, each of which counts for the first case that has it."""
    firsts: dict[Path, int] = {}
    for index, case in enumerate(cases):
        if case.fingerprint is not None:
            firsts.setdefault(case.image, index)
    indices = list(firsts.values())
    found = find_pairs([cases[index].fingerprint for index in indices], min_score=min_score, progress=progress)
    return [
        Pair(indices[pair.first], indices[pair.second], pair.score, pair.shared, pair.flips, pair.shift) for pair in found
    ]


def summary(audit: Audit) -> str:
    """What was found, in a few lines for the terminal."""
    kinds: dict[str, int] = {}
    for finding in audit.findings:
        kinds[finding.kind] = kinds.get(finding.kind, 0) + 1
    lines = [f"cases: {len(audit.cases)}, findings: {len(audit.findings)}"]
    lines += [f"  {kind}: {count}" for kind, count in kinds.items()]
    lines += [f"  {problem}" for problem in audit.listing]
    lines.append(f"pairs of the same scan: {len(audit.pairs)}, groups of them: {len(audit.groups)}")
    lines += [f"  {audit.cases[p.first].name} = {audit.cases[p.second].name}  {p.score:.2f}" for p in audit.pairs[:20]]
    lines += [f"  ... and {len(audit.pairs) - 20} more"] if len(audit.pairs) > 20 else []
    return "\n".join(lines)


def as_json(audit: Audit, min_score: float) -> dict[str, Any]:
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
