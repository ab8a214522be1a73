"""Page: what an audit found as one HTML file with pictures. It names cases by dataset and identifier, and no path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_cdpd.audit.cases import AuditCase
from nnunetv2_cdpd.audit.checks import Finding
from nnunetv2_cdpd.audit.pictures import label_pictures, pair_pictures
from nnunetv2_cdpd.audit.result import Audit
from nnunetv2_cdpd.jobs import in_processes, run
from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.pages.pictures import PlanePicture
from nnunetv2_cdpd.pages.template import write_html

URGENT = ("empty", "values", "left and right", "intensities", "geometry", "volume")  # first: the kinds that a picture may explain


@dataclass(frozen=True)
class FlaggedCase:
    """A case with findings; planes: Empty where its files cannot be drawn."""

    case: AuditCase
    findings: Sequence[Finding]
    planes: Sequence[PlanePicture]


def write_audit_page(path: Path, audit: Audit, num_pictures: int) -> None:
    """Write the page; num_pictures: of cases with findings, and of pairs."""
    affected = {(finding.dataset, finding.case) for finding in audit.findings if finding.case}
    annotations = {case.dataset.name: case.dataset.annotation for case in audit.cases}
    flagged = _flagged(audit, num_pictures)
    # of pairs, pictures of the mirrored and the least sure ones tell most
    telling = sorted(audit.pairs, key=lambda pair: (not pair.mirrored, pair.score))[:num_pictures]
    write_html(
        path,
        "audit/page.html",
        title="Dataset audit",
        palette=Palette.of(
            name for each in annotations.values() for name in (*each.classes, *(label.name for label in each.merged_labels))
        ),
        audit=audit,
        datasets=list(annotations),
        figures=[
            (len(audit.cases), f"cases of {len(annotations)} dataset{'s' * (len(annotations) > 1)}"),
            (len(affected), "cases with findings"),
            (len(audit.pairs), "pairs of the same scan"),
            (len(audit.groups), "groups of them"),
        ],
        anchors={name: f"case-{number}" for number, name in enumerate(flagged, start=1)},
        flagged=flagged,
        shown_pairs=[(pair, pair_pictures(audit.cases, pair)) for pair in telling],
    )


def _flagged(audit: Audit, most: int) -> dict[str, FlaggedCase]:
    """Name -> case with findings that a picture may explain, the most urgent kinds first."""
    ranked = sorted(
        (URGENT.index(finding.kind), f"{finding.dataset}/{finding.case}")
        for finding in audit.findings
        if finding.case and finding.kind in URGENT
    )
    named = {case.name: case for case in audit.cases}
    cases = {name: named[name] for name in list(dict.fromkeys(name for _, name in ranked))[:most]}
    # whatever keeps a case from being drawn, the page says so in its own words
    drawn = run(cases, in_processes(label_pictures, 1), title="Pictures", progress=False).done
    return {
        name: FlaggedCase(
            case,
            [finding for finding in audit.findings if f"{finding.dataset}/{finding.case}" == name],
            drawn.get(name, ()),
        )
        for name, case in cases.items()
    }
