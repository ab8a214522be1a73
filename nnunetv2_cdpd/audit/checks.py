"""Checks: what in a case does not look as it should, in words; only the patient's images can tell who is right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.audit.cases import AuditCase
from nnunetv2_cdpd.audit.label_facts import LabelFacts
from nnunetv2_cdpd.audit.statistics import VolumeStatistics, by_source
from nnunetv2_cdpd.classes import lateral_pairs, side_of
from nnunetv2_cdpd.same_scan.fingerprint import ImageFacts

TISSUE_HU = (-150.0, 250.0)  # between which the median of the body lies
AIR_HU = -300.0  # above which the darkest voxel is not of a whole CT
BRIGHT_HU = 300.0  # below which the brightest voxel is not of a whole CT: bone is brighter
SIDE_MM = 15.0  # by which a structure has to lie on the wrong side of the body's middle
SAME_MM = 1e-3
CORNER_MM = 0.01  # over a whole image the roundings of its spacing add up
OBLIQUE_DEGREES = 10.0  # a body lies that straight on every table
MOST = 0.5  # share of a source's cases above which not a case but the source is wrong


@dataclass(frozen=True)
class Finding:
    """One thing to look at.

    kind: A short name, the same for all findings of its kind.
    case: Identifier; "" if it is about all cases of the source.
    name: Class that it is about, or "".
    """

    kind: str
    dataset: str
    source: str
    case: str
    name: str
    text: str


def check_cases(cases: Sequence[AuditCase], statistics: Sequence[VolumeStatistics]) -> list[Finding]:
    """Everything that is found, by dataset, source and kind."""
    findings = []
    for (dataset, source), its in by_source(cases).items():
        found = [
            Finding(kind, dataset, source, case.identifier, name, text) for case in its for kind, name, text in _of_case(case)
        ]
        findings += [*_of_source(found, len(its), dataset, source), *found]
    names = {case.name: case for case in cases}
    for row in statistics:
        median = row.range_ml[1]
        for case in row.outliers:
            ml = row.volumes[case]
            times = f"{max(ml / median, median / ml):.1f} times {'more' if ml > median else 'less'}"
            text = f"{ml:.3g} ml, {times} than the median, {median:.3g} ml"
            findings.append(Finding("volume", row.dataset, row.source, names[case].identifier, row.name, text))
        if row.cases and not row.volumes:
            findings.append(Finding("never there", row.dataset, row.source, "", row.name, f"in none of {row.cases} cases"))
    return findings


def _of_case(case: AuditCase) -> Iterator[tuple[str, str, str]]:
    """(kind, class or "", text) of each finding."""
    yield from (("file", "", problem) for problem in case.problems)
    if case.fingerprint is not None:
        yield from (("geometry", "", text) for text in _geometry(case.fingerprint.facts, case.labels))
        if case.dataset.dataset_json.channel_names[0].lower() == "ct":
            yield from (("intensities", "", text) for text in _intensities(case.fingerprint.facts))
    if case.labels is not None:
        yield from _labels(case, case.labels)
        yield from (("left and right", name, text) for name, text in _sides(case))


def _of_source(findings: Sequence[Finding], num_cases: int, dataset: str, source: str) -> Iterator[Finding]:
    """A line of its own for a kind that most cases of a source share."""
    for kind in ("left and right", "intensities", "geometry"):
        affected = {finding.case for finding in findings if finding.kind == kind}
        if len(affected) > max(1, MOST * num_cases):
            text = f"in {len(affected)} of {num_cases} cases: the source or its conversion rather than a case"
            yield Finding(kind, dataset, source, "", "", text)


def _geometry(facts: ImageFacts, labels: LabelFacts | None) -> Iterator[str]:
    if facts.spacing == (1.0, 1.0, 1.0) and facts.size[0] == facts.size[1]:
        yield "spacing is exactly 1 x 1 x 1 mm, as where the true one was lost"
    if abs(facts.spacing[0] - facts.spacing[1]) > 0.01 * facts.spacing[0]:
        yield f"axial pixels are not square: {facts.spacing[0]:.4g} x {facts.spacing[1]:.4g} mm"
    if facts.oblique_degrees > OBLIQUE_DEGREES:
        yield f"axes are turned by {facts.oblique_degrees:.1f} degrees against those of the body"
    if labels is not None and not _on_one_grid(facts, labels):
        yield "image and label do not lie on one grid"


def _on_one_grid(image: ImageFacts, label: LabelFacts) -> bool:
    """Whether voxels of one index lie at one place; a label of the right shape may be moved or flipped."""
    if label.size != image.size or not np.allclose(label.spacing, image.spacing, atol=SAME_MM):
        return False
    return np.allclose(label.corners, image.corners, atol=CORNER_MM)


def _intensities(facts: ImageFacts) -> Iterator[str]:
    if facts.maximum <= facts.minimum:
        yield f"all voxels are {facts.minimum:g}"
    elif facts.maximum - facts.minimum <= 10:
        yield f"values from {facts.minimum:g} to {facts.maximum:g} are no HU but scaled"
    elif not TISSUE_HU[0] <= facts.tissue <= TISSUE_HU[1]:
        yield f"the body's median is {facts.tissue:.0f}, in HU it is near 0: an offset or another unit"
    elif facts.minimum > AIR_HU:
        yield f"no voxel is below {facts.minimum:g}, in HU air is -1000: clipped"
    elif facts.maximum < BRIGHT_HU:
        yield f"no voxel is above {facts.maximum:g}, in HU bone is brighter: clipped"


def _labels(case: AuditCase, labels: LabelFacts) -> Iterator[tuple[str, str, str]]:
    if unknown := sorted(set(labels.values) - set(np.flatnonzero(case.dataset.annotation.declared).tolist())):
        yield "values", "", f"the label holds {', '.join(map(str, unknown[:5]))}, which dataset.json does not declare"
    if not labels.values:
        yield "empty", "", "nothing is labelled"
    elif not case.found():
        yield "empty", "", "none of the classes that the source annotates is labelled"


def _sides(case: AuditCase) -> Iterator[tuple[str, str]]:
    """Classes that lie on the other side of the body than their names say; x grows towards the patient's left."""
    found = case.found()
    compared = set()
    for left, right in lateral_pairs(tuple(found)):
        compared |= {left, right}
        gap = found[left].centre[0] - found[right].centre[0]
        if gap < 0:
            yield right, f"{right} lies {-gap:.0f} mm farther to the patient's left than {left}"
    if case.fingerprint is None:
        return
    for name, facts in found.items():
        side, to_left = side_of(name), facts.centre[0] - case.fingerprint.facts.body_centre[0]
        wrong, distance = ("left", to_left) if side == "right" else ("right", -to_left)
        if side is not None and name not in compared and distance > SIDE_MM:
            yield name, f"lies {distance:.0f} mm to the {wrong} of the middle of the patient's body"
