"""Opinion: what is taken of the teachers' votes on a class in a case, after all filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.votes import Box3D, Votes


@dataclass(frozen=True)
class Opinion:
    """One class in one case. Outside of the box it is not there, unless nothing is known of it.

    box: Of the image; None: nothing is known of the class, it may be anywhere.
    probability: float32 (z, y, x), within the box; where it is above 0.5 the class is taken, unless it is uncertain.
    uncertain: Bool (z, y, x), within the box.
    dropped_by: Filter by which the structure is not taken; None: it is.
    measured: What the filters measured, for the table.
    """

    box: Box3D | None
    probability: np.ndarray | None = None
    uncertain: np.ndarray | None = None
    dropped_by: str | None = None
    measured: Mapping[str, float] = field(default_factory=dict)


def nothing_known(reason: str) -> Opinion:
    """Of a class that no trusted teacher tells of.

    Args:
        reason: Filter that let none pass, or what else.
    """
    return Opinion(None, dropped_by=reason)


def opinion_of(votes: Votes, findings: Mapping[str, FilterFinding], settings: CompletionSettings) -> Opinion:
    """Join what the filters found.

    A structure that one of them takes for uncertain is not taken, and it may be wherever any network holds it for plausible, and
    around what they drew. The border of one that is taken may be drawn too narrow. Where it is undecided it is uncertain, by
    whatever filters.

    Args:
        findings: Of each filter that is used.
    """
    measured = {key: value for finding in findings.values() for key, value in finding.measured.items()}
    dropped_by = next((name for name, finding in findings.items() if finding.is_uncertain), None)
    if dropped_by is not None:
        plausible = (votes.at_most >= settings.plausible).any(0)
        drawn = votes.structures.any(0) | votes.structure
        uncertain = plausible | grown(drawn, votes.spacing, settings.margin_mm)
        return Opinion(votes.box, np.zeros_like(votes.mean), uncertain, dropped_by, measured)
    uncertain = grown(votes.structure, votes.spacing, settings.border_mm) & ~votes.structure
    uncertain |= votes.undecided
    for finding in findings.values():
        if finding.voxels is not None:
            uncertain |= finding.voxels
    return Opinion(votes.box, votes.mean, uncertain, None, measured)


def grown(mask: np.ndarray, spacing: Sequence[float], margin_mm: float) -> np.ndarray:
    """A mask (z, y, x) and all voxels whose middle is at most so far from one of its own."""
    from scipy.ndimage import distance_transform_edt

    if margin_mm <= 0 or not mask.any():
        return mask
    return distance_transform_edt(~mask, sampling=spacing) <= margin_mm
