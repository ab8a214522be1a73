"""Agreement: voxels on which networks differ are uncertain, and so is a structure that two of them draw differently."""

from itertools import combinations

import numpy as np

from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.votes import Votes


def agreement_finding(votes: Votes, settings: CompletionSettings) -> FilterFinding:
    """What the networks say against each other: the lowest Dice of two of them; one network alone says nothing."""
    masks = votes.structures
    if len(masks) < 2:
        return FilterFinding(False)
    dice = min(_dice(one, other) for one, other in combinations(masks, 2))
    differ = np.asarray(masks.any(0) & ~masks.all(0))
    return FilterFinding(dice < settings.least_agreement, differ, {"agreement": dice})


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """1 where both are empty: they agree that nothing is there."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
