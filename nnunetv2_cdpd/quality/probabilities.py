"""Probabilities: how often a class is where it has a probability of p, and the scaling of logits that makes this p.

Platt's: sigmoid(scale * logit + shift), per class, fitted on the networks' validation cases. It is linear in the logit, so it may
come before the interpolation to the image, and the voxels above 0.5 change only by the shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.quality.regression import sigmoid
from nnunetv2_cdpd.quality.sums import LOGIT_EDGES

_STRENGTH = 10.0  # voxels for which no change stands
_STEPS = 50
BINS = 10  # of a reliability diagram


@dataclass(frozen=True)
class Platt:
    """scale and shift of a class's logits."""

    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        return self.scale * logits + self.shift


@dataclass(frozen=True)
class Reliability:
    """Voxels of a class by their probability.

    probability: (bins,) mean, of the bins that hold voxels.
    share: (bins,) of voxels that are of the class.
    voxels: (bins,).
    """

    probability: Sequence[float]
    share: Sequence[float]
    voxels: Sequence[int]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of probability and share, by voxels."""
        weights = np.array(self.voxels, float)
        return float(weights @ np.abs(np.subtract(self.probability, self.share)) / weights.sum()) if weights.sum() else 0.0


def fit_platt(counts: np.ndarray) -> Platt:
    """Fit to counts (2, bins) of voxels without and with the class, by logit between LOGIT_EDGES."""
    logits = _middles()
    total = counts.sum(0).astype(float)
    if not counts[1].any() or not counts[0].any():
        return Platt()
    weights = total / total.sum() * min(total.sum(), 1e6)
    share = np.divide(counts[1], total, out=np.zeros(len(total)), where=total > 0)
    solution = np.array([1.0, 0.0])
    design = np.stack([logits, np.ones(len(logits))], 1)
    for _ in range(_STEPS):
        p = sigmoid(design @ solution)
        gradient = design.T @ (weights * (share - p)) - _STRENGTH * (solution - [1.0, 0.0])
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + _STRENGTH * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        solution = solution + step / max(1.0, float(np.abs(step).max()))  # no step farther than 1: from afar Newton's may diverge
    if solution[0] <= 0.05:  # logits that say nothing
        return Platt()
    return Platt(float(solution[0]), float(solution[1]))


def reliability(counts: np.ndarray, platt: Platt = Platt()) -> Reliability:
    """Reliability diagram of counts (2, bins), after a scaling of the logits."""
    p = sigmoid(platt(_middles()))
    which = np.minimum((p * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        its = counts[:, which == number]
        if voxels := int(its.sum()):
            mean = float((its.sum(0) @ p[which == number]) / voxels)
            found.append((mean, float(its[1].sum() / voxels), voxels))
    return Reliability(*(list(column) for column in zip(*found))) if found else Reliability([], [], [])


def sums_of(counts: Sequence[Mapping[str, Sequence[Sequence[int]]]]) -> dict[str, np.ndarray]:
    """Class -> counts (2, bins) over cases."""
    found: dict[str, np.ndarray] = {}
    for case in counts:
        for name, its in case.items():
            found[name] = found.get(name, 0) + np.array(its, np.int64)
    return found


def _middles() -> np.ndarray:
    """Logit that stands for each bin."""
    edges = np.array(LOGIT_EDGES)
    width = edges[1] - edges[0]
    return np.concatenate([[edges[0]], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 2 * width]])
