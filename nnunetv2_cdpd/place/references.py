"""AxisModel: the reference point of a case along one axis of the body, and the range of each class around it.

Every end of a class lies at some distance from the reference point, the same in all bodies but for a spread; so does what the
image alone says of the point. What each of them suggests for a case is joined by a median, weighted by their precision, so that
a structure which is predicted in a false place changes little. Spreads are those that each has against what the others say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CASES_NEEDED = 5  # of which an end is to be learned; of fewer nothing is known
_SIGMAS, MARGIN_MM = 3.0, 10.0  # that a range is wider than what was seen
_LEAST_SPREAD = 3.0  # mm
_MOST_CUT = 0.25  # of the cases, for an end to be learned from the others
_ROUNDS = 30
_AGREE = 0.5  # of the weight of all suggestions has to lie within _SIGMAS of the median
_OF_MEDIAN = 1.25  # its spread, in that of a mean
_LOW, _HIGH = 0, 1


@dataclass(frozen=True)
class Reference:
    """position: mm in the image; spread: its standard deviation in mm."""

    position: float
    spread: float


@dataclass(frozen=True)
class AxisModel:
    """What was learned along one axis.

    positions: (K, 2) mm of the ends of each class from the reference point; nan: unknown, the class may lie anywhere there.
    spreads: (K, 2) mm.
    beyond: (K, 2) mm, by which the farthest end that was seen lies beyond its position.
    image_spread: mm, of what the image alone says; nan: it says nothing.
    """

    positions: np.ndarray
    spreads: np.ndarray
    beyond: np.ndarray
    image_spread: float

    def reference(self, image: float, ends: np.ndarray) -> Reference | None:
        """The reference point of a case.

        Args:
            image: mm, what the image says; nan: nothing.
            ends: (K, 2) mm in the image, of the structures whose place is known; nan: not known.

        Returns:
            None: nothing tells, or what tells contradicts itself.
        """
        values, spreads = self._suggestions(np.array([image]), ends[None])
        known = np.isfinite(values[0]) & np.isfinite(spreads)
        if not known.any():
            return None
        values, weights = values[0][known], spreads[known] ** -2.0
        order = np.argsort(values)
        reached = np.cumsum(weights[order])
        position = float(values[order][np.searchsorted(reached, reached[-1] / 2)])
        if len(values) == 2:  # no middle one
            position = float((values * weights).sum() / weights.sum())
        spread = _OF_MEDIAN * weights.sum() ** -0.5
        allowed = _SIGMAS * np.hypot(spreads[known], spread)
        if weights[np.abs(values - position) <= allowed].sum() < _AGREE * weights.sum():
            return None
        return Reference(position, float(spread))

    def ranges(self, reference: Reference | None) -> np.ndarray:
        """(K, 2) mm in the image, between which each class can lie; infinite where nothing is known."""
        everywhere = np.tile([-np.inf, np.inf], (len(self.positions), 1))
        if reference is None:
            return everywhere
        widened = np.maximum(_SIGMAS * np.hypot(self.spreads, reference.spread), self.beyond) + MARGIN_MM
        ends = reference.position + self.positions + widened * [-1, 1]
        return np.where(np.isfinite(ends), ends, everywhere)

    def of_classes(self, indices: Sequence[int | None]) -> "AxisModel":
        """The same of these classes; of None nothing is known."""
        chosen = [-1 if index is None else index for index in indices]  # -1: a row of nan that is put behind
        nothing = [[np.nan, np.nan]]
        positions, spreads, beyond = (np.vstack([part, nothing])[chosen] for part in (self.positions, self.spreads, self.beyond))
        return AxisModel(positions, spreads, beyond, self.image_spread)

    def _suggestions(self, images: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the reference point lies by each class and, last, by the image: mm (C, K + 1), and their spreads (K + 1,)."""
        by_end = ends - self.positions
        values = np.concatenate([_mean(by_end, 2), images[:, None]], axis=1)
        spreads = np.where(np.isfinite(self.positions), self.spreads, -np.inf).max(1)
        return values, np.append(np.where(spreads > 0, spreads, np.nan), self.image_spread)


def learn_axis(images: np.ndarray, ends: np.ndarray) -> AxisModel:
    """Learn from cases.

    Args:
        images: (C,) mm, what each case's image alone says of its reference point; nan: nothing.
        ends: (C, K, 2) mm of annotated classes; nan: not annotated, or cut by the image.
    """
    counts = np.isfinite(ends).sum(0)
    # Where many images cut a class, the others are those in which it reaches least far.
    cut = (np.isfinite(ends).any(2)[:, :, None] & ~np.isfinite(ends)).sum(0)
    ends = np.where((counts >= CASES_NEEDED) & (cut <= _MOST_CUT * (counts + cut)), ends, np.nan)
    has_ends = np.isfinite(ends).any((1, 2))
    images, ends = images[has_ends], ends[has_ends]
    if np.isfinite(images).sum() < CASES_NEEDED:
        nothing = np.full(counts.shape, np.nan)
        return AxisModel(nothing, nothing, nothing, np.nan)
    positions = _mean(ends - images[:, None, None], 0)
    model = AxisModel(positions, np.where(np.isfinite(positions), 10.0, np.nan), np.zeros(positions.shape), 10.0)
    for _ in range(_ROUNDS):
        model = _relearned(model, images, ends)
    # A spread that few cases told may be larger by about its own standard deviation.
    counts = np.maximum(np.isfinite(ends).sum(0), 1)
    return replace(model, spreads=model.spreads * (1 + (2 * counts) ** -0.5))


def _relearned(model: AxisModel, images: np.ndarray, ends: np.ndarray) -> AxisModel:
    """The same, its numbers taken anew from what is left where each case's reference point is as `model` gives it."""
    values, spreads = model._suggestions(images, ends)
    weights = np.where(np.isfinite(values), spreads**-2.0, 0.0)
    weights = np.nan_to_num(weights)
    terms = np.where(weights > 0, weights * np.nan_to_num(values), 0.0)
    other_weights = weights.sum(1, keepdims=True) - weights  # (C, K + 1): of all but each
    with np.errstate(divide="ignore", invalid="ignore"):
        others = np.where(other_weights > 1e-12, (terms.sum(1, keepdims=True) - terms) / other_weights, np.nan)
        of_others = np.where(other_weights > 1e-12, 1 / other_weights, np.nan)  # their variance
    distances = ends - others[:, :-1, None]
    positions = _mean(distances, 0)
    rest = distances - positions
    # Of an end, what is left beside the spread of the others.
    variances = _mean(rest**2, 0) - _mean(np.where(np.isfinite(rest), of_others[:, :-1, None], np.nan), 0)
    of_image = images - others[:, -1]
    image_variance = _mean(of_image**2, 0) - _mean(np.where(np.isfinite(of_image), of_others[:, -1], np.nan), 0)
    floor = _LEAST_SPREAD**2
    low = np.where(np.isfinite(rest[..., _LOW]), -rest[..., _LOW], -np.inf).max(0)
    high = np.where(np.isfinite(rest[..., _HIGH]), rest[..., _HIGH], -np.inf).max(0)
    beyond = np.maximum(np.stack([low, high], 1), 0.0)
    return AxisModel(positions, np.sqrt(np.maximum(variances, floor)), beyond, float(np.sqrt(np.maximum(image_variance, floor))))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is not nan; nan where nothing is."""
    known = np.isfinite(values)
    sums, counts = np.where(known, values, 0.0).sum(axis), known.sum(axis)
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
