"""Intervals: a range for the volume of a class, by conformal prediction from validation cases.

Two masks of Dice d have volumes of a ratio between d / (2 - d) and its inverse, so ln(2 / d - 1) of the predicted Dice is the
scale by which the errors of volumes, ln(reference / prediction), are compared. What its quantile of validation cases is, a new
case stays below with the same probability.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

COVERAGE = 0.9
_PRIOR = 4.0  # cases for which no bias of a class stands
_LEAST, _MOST = 0.02, 0.99  # of a predicted Dice that scales
_FARTHEST = 14.0  # ln of a million: an interval that reaches farther says nothing


@dataclass(frozen=True)
class VolumeRow:
    """A prediction: its class, the Dice predicted without its case, ln(reference / prediction) of the volumes; None: spurious."""

    name: str
    predicted: float
    log_ratio: float | None


@dataclass(frozen=True)
class VolumeIntervals:
    """Intervals of volumes.

    biases: Class -> median of ln(reference / prediction), shrunk.
    width: Quantile of the scaled errors; inf where there are too few cases for one.
    spurious_below: Predicted Dice below which the class may be not there at all; 0: no validation case was so.
    """

    biases: Mapping[str, float]
    width: float
    spurious_below: float

    def of(self, name: str, predicted: float, volume_ml: float) -> tuple[float, float]:
        """Lower and upper limit in ml, of a class that is somewhere; the upper one is inf where nothing is known."""
        middle, reach = self.biases.get(name, 0.0), self.width * scale_of(predicted)
        if reach > _FARTHEST:
            return 0.0, math.inf
        low = 0.0 if predicted < self.spurious_below else volume_ml * math.exp(middle - reach)
        return low, volume_ml * math.exp(middle + reach)


def scale_of(predicted: float) -> float:
    """ln of the largest ratio of volumes that a Dice allows."""
    return math.log(2 / min(max(predicted, _LEAST), _MOST) - 1)


def fit_intervals(rows: Sequence[VolumeRow]) -> VolumeIntervals:
    """Fit to the validation cases."""
    ratios: dict[str, list[float]] = {}
    for row in rows:
        if row.log_ratio is not None:
            ratios.setdefault(row.name, []).append(row.log_ratio)
    biases = {name: _bias(its) for name, its in ratios.items()}
    # Of each row by the bias of the others: a new case has no part in it either.
    without = {name: iter([_bias(its[:i] + its[i + 1 :]) for i in range(len(its))]) for name, its in ratios.items()}
    errors = [abs(r - next(without[row.name])) / scale_of(row.predicted) for row in rows if (r := row.log_ratio) is not None]
    spurious = [row.predicted for row in rows if row.log_ratio is None]
    below = float(np.quantile(spurious, COVERAGE, method="higher")) + 1e-9 if spurious else 0.0
    return VolumeIntervals(biases, conformal_quantile(errors, COVERAGE), below)


def _bias(ratios: Sequence[float]) -> float:
    return float(np.median(ratios)) * len(ratios) / (len(ratios) + _PRIOR) if ratios else 0.0


def conformal_quantile(values: Sequence[float], coverage: float) -> float:
    """The value below which a further one of the same kind lies with at least this probability; inf: there are too few."""
    rank = math.ceil((len(values) + 1) * coverage)
    return sorted(values)[rank - 1] if rank <= len(values) else math.inf
