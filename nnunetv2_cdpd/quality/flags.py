"""Flags: which predictions to look at: those among which the worst tenth is.

The validation cases say how bad the worst tenth is, and how low a predicted Dice may be before it is one of them. What is
unusually low for its own class is looked at too: a liver of 0.8 is no esophagus of 0.8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.quality.features import logit
from nnunetv2_cdpd.quality.regression import sigmoid

WORST = 0.1  # share of predictions that should be found
CAUGHT = 0.8  # of them, at least, in the validation cases: some are lost to new ones, of which two thirds should be found
_SPREADS = 2.0  # that a class's own predictions reach below their median
_LEAST_SPREAD = 0.25  # of logits of predicted Dice


@dataclass(frozen=True)
class FlagRow:
    """A prediction: its class, what is predicted without its case, how good it is (0 to 1), whether it is anywhere."""

    name: str
    predicted: float
    score: float
    present: bool


@dataclass(frozen=True)
class Flags:
    """Thresholds of the predicted quality.

    worst_score: The worst tenth of the validation cases' predictions is at most this good.
    threshold: Of all classes.
    thresholds: Class -> the higher one of `threshold` and its own.
    caught: Share of the worst tenth that is flagged, in the validation cases.
    false_alarms: Share of the others that is.
    """

    worst_score: float
    threshold: float
    thresholds: Mapping[str, float]
    caught: float
    false_alarms: float

    def is_flagged(self, name: str, predicted: float) -> bool:
        return predicted <= self.thresholds.get(name, self.threshold)


def fit_flags(rows: Sequence[FlagRow]) -> Flags:
    """Fit to the validation cases."""
    predicted, score = (np.array([getattr(row, key) for row in rows]) for key in ("predicted", "score"))
    is_worst = _are_worst(score)
    # Where many classes are not found at all, the worst tenth would be of them alone.
    there = np.array([row.present for row in rows])
    of_both = [(predicted, is_worst)] + ([(predicted[there], _are_worst(score[there]))] if there.any() else [])
    threshold = max(float(np.quantile(its[worst], CAUGHT, method="higher")) for its, worst in of_both)
    thresholds = {}
    for name in dict.fromkeys(row.name for row in rows):
        own = np.array([logit(row.predicted) for row in rows if row.name == name])
        spread = max(1.4826 * float(np.median(np.abs(own - np.median(own)))), _LEAST_SPREAD)
        thresholds[name] = max(threshold, float(sigmoid(np.median(own) - _SPREADS * spread)))
    flagged = np.array([row.predicted <= thresholds[row.name] for row in rows])
    false = float(flagged[~is_worst].mean()) if not is_worst.all() else 0.0
    return Flags(float(score[is_worst].max()), threshold, thresholds, float(flagged[is_worst].mean()), false)


def _are_worst(score: np.ndarray) -> np.ndarray:
    """Bool: the worst tenth, at least one; of equal ones all."""
    return score <= np.sort(score)[max(1, round(WORST * len(score))) - 1]
