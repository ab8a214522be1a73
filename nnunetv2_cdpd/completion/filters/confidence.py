"""Confidence: voxels of a medium probability are uncertain, and so is a structure whose voxels are hardly probable on average."""

from nnunetv2_cdpd.completion.filters.finding import FilterFinding
from nnunetv2_cdpd.completion.settings import CompletionSettings
from nnunetv2_cdpd.completion.votes import Votes


def confidence_finding(votes: Votes, settings: CompletionSettings) -> FilterFinding:
    """What the mean probability of all networks says, with and without what is undecided.

    A class that is nowhere has no mean over its voxels.
    """
    voxels = (votes.mean_at_most >= settings.low) & (votes.mean <= settings.high)
    if not votes.structure.any():
        return FilterFinding(False, voxels)
    mean = float(votes.mean[votes.structure].mean())
    return FilterFinding(mean < settings.least_probability, voxels, {"probability": mean})
