"""Statistics: volume of each class and geometry of the images, per source."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.audit.cases import AuditCase

MIN_FOR_OUTLIERS = 8  # cases with the class, for its spread to mean something
OUTLIER = 4.0  # robust standard deviations of the logarithm of the volume
MIN_FACTOR = 2.0  # and at least so many times larger or smaller than the median


@dataclass(frozen=True)
class VolumeStatistics:
    """One class in the cases of one source.

    cases: With a readable label map.
    volumes: Case name -> ml, of those that hold the class.
    outliers: Case names, the farthest first.
    """

    dataset: str
    source: str
    name: str
    cases: int
    volumes: Mapping[str, float]
    outliers: tuple[str, ...]

    @property
    def range_ml(self) -> tuple[float, float, float]:
        """Smallest, median and largest volume; nan where no case holds the class."""
        volumes = list(self.volumes.values())
        return (min(volumes), float(np.median(volumes)), max(volumes)) if volumes else (np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class GeometryStatistics:
    """Images of one source; size in voxels, spacing in mm: smallest, median, largest along each axis as in ImageFacts."""

    dataset: str
    source: str
    cases: int
    size: tuple[tuple[float, float, float], ...]
    spacing: tuple[tuple[float, float, float], ...]
    orientations: Mapping[str, int]


def by_source(cases: Sequence[AuditCase]) -> dict[tuple[str, str], list[AuditCase]]:
    """(dataset, source) -> its cases."""
    grouped: dict[tuple[str, str], list[AuditCase]] = {}
    for case in cases:
        grouped.setdefault((case.dataset.name, case.source.name), []).append(case)
    return grouped


def volume_statistics(cases: Sequence[AuditCase]) -> list[VolumeStatistics]:
    """Of every class that each source annotates."""
    rows = []
    for (dataset, source), its in by_source(cases).items():
        readable = [case for case in its if case.labels is not None]
        found = {case.name: case.found() for case in readable}
        for name in its[0].annotated():
            volumes = {case: classes[name].ml for case, classes in found.items() if name in classes}
            rows.append(VolumeStatistics(dataset, source, name, len(readable), volumes, outliers(volumes)))
    return rows


def outliers(volumes: Mapping[str, float]) -> tuple[str, ...]:
    """Keys of volumes that lie far from the others, the farthest first."""
    if len(volumes) < MIN_FOR_OUTLIERS:
        return ()
    logs = np.log(list(volumes.values()))
    away = np.abs(logs - np.median(logs))
    limit = max(OUTLIER * 1.4826 * float(np.median(away)), np.log(MIN_FACTOR))
    far = sorted(zip(away.tolist(), volumes), reverse=True)
    return tuple(case for distance, case in far if distance > limit)


def geometry_statistics(cases: Sequence[AuditCase]) -> list[GeometryStatistics]:
    rows = []
    for (dataset, source), its in by_source(cases).items():
        facts = [case.fingerprint.facts for case in its if case.fingerprint is not None]
        if facts:
            size, spacing = (_ranges([getattr(fact, name) for fact in facts]) for name in ("size", "spacing"))
            orientations = dict(sorted(Counter(fact.orientation for fact in facts).items()))
            rows.append(GeometryStatistics(dataset, source, len(facts), size, spacing, orientations))
    return rows


def _ranges(values: Sequence[Sequence[float]]) -> tuple[tuple[float, float, float], ...]:
    array = np.array(values, float)
    return tuple(zip(array.min(0).tolist(), np.median(array, 0).tolist(), array.max(0).tolist()))
