"""Absent: how likely a class is there all the same where a label map has none of it.

What is usual for the class says most: an organ that every patient has was missed, a tumor that every other one has was
probably not. The highest probability that the network gave it shifts that, as far as the validation cases show that it can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.quality.regression import sigmoid

_PRIOR = 2.0  # empty label maps for which the share of cases that hold the class stands
_SLOPE_STRENGTH = 2.0  # of the ridge on the slope
_STEPS = 30  # of Newton's method


@dataclass(frozen=True)
class EmptyRow:
    """A class that a label map has nothing of; present: it is in the reference."""

    name: str
    highest: float
    present: bool


@dataclass(frozen=True)
class AbsentModel:
    """What says whether a class was missed.

    priors: Class -> probability that it was missed where there is nothing of it, as a logit.
    usual: Class -> its highest logit there, the mean.
    slope: Of the highest logit against that.
    """

    priors: Mapping[str, float]
    usual: Mapping[str, float]
    slope: float

    def probability_missed(self, name: str, highest: float) -> float:
        """Of a class whose highest logit is given; 0.5 of one that no validation case tells of."""
        if name not in self.priors:
            return 0.5
        return float(sigmoid(np.array(self.priors[name] + self.slope * _scaled(highest - self.usual[name]))))


def fit_absent(rows: Sequence[EmptyRow], present: Mapping[str, int], annotated: Mapping[str, int]) -> AbsentModel:
    """Fit to the validation cases.

    Args:
        rows: Of all label maps without a class.
        present: Class -> cases that hold it.
        annotated: Class -> cases that say whether they hold it.
    """
    priors, usual = {}, {}
    for name, cases in annotated.items():
        its = [row for row in rows if row.name == name]
        rate = (present[name] + 0.5) / (cases + 1)
        share = (sum(row.present for row in its) + _PRIOR * rate) / (len(its) + _PRIOR)
        priors[name] = float(np.log(share / (1 - share)))
        usual[name] = float(np.mean([row.highest for row in its])) if its else 0.0
    known = [row for row in rows if row.name in priors]
    offsets = np.array([priors[row.name] for row in known])
    beyond = np.array([_scaled(row.highest - usual[row.name]) for row in known])
    truth = np.array([float(row.present) for row in known])
    slope = 0.0
    for _ in range(_STEPS if known else 0):
        p = sigmoid(offsets + slope * beyond)
        slope += (beyond @ (truth - p) - _SLOPE_STRENGTH * slope) / (np.square(beyond) @ (p * (1 - p)) + _SLOPE_STRENGTH)
    return AbsentModel(priors, usual, max(slope, 0.0))  # a higher probability never speaks for absence


def _scaled(difference: float) -> float:
    return float(np.clip(difference / 2, -4, 4))
