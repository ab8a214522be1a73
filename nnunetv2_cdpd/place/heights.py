"""HeightModel: how high a slice lies in the body, in mm, from its looks; by ridge regression.

Two slices of one image are as far apart as their heights, wherever its first slice lies in the body. So all images, of whatever
source, teach one regression in which only the offset of each image is unknown; where ends of classes are annotated, they hold
the offsets of their cases together. All unknowns (coefficients, offsets of cases, heights of ends) come from one linear system:

    slices   coefficients . features = height of the slice - offset of its case
    ends     height of the end in the body = height in the image - offset of its case
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.place.body import BodySlices

_CASE_WEIGHT = 20.0  # of all slices of a case together: neighbours say the same
_END_WEIGHT = 3.0  # of an end, which says more than one slice
_RIDGE = 1.0  # per case
_BEYOND = 0.25  # of the range of a feature, by which a slice may lie beyond it
_BEYOND_OF_CONSTANT = 0.1  # besides, in standard deviations
_LEAST_KNOWN = 0.5  # of the slices of an image have to be like those that were learned from
_FOLDS = 5
_CONSTANT = 1e-6  # of its size, by which a feature varies that does not
_DISAGREE = 4.0  # times the usual disagreement of the slices of an image that was learned from


@dataclass(frozen=True)
class HeightModel:
    """A regression.

    means, scales: (F,) of the features.
    coefficients: (F,) mm per scaled feature.
    lows, highs: (F,) scaled, between which slices are known.
    most_disagreement: mm, by which the slices of an image may disagree on its offset (median absolute deviation).
    """

    means: np.ndarray
    scales: np.ndarray
    coefficients: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    most_disagreement: float = np.inf

    def offset(self, slices: BodySlices) -> float:
        """Where in an image, in mm, the height 0 of the body lies, within the image or not; nan: the image does not tell."""
        offset, disagreement = self.offset_and_disagreement(slices)
        return offset if disagreement <= self.most_disagreement else np.nan

    def offset_and_disagreement(self, slices: BodySlices) -> tuple[float, float]:
        """The offset and by how much the slices disagree on it; both nan where too few are like those that were learned from."""
        scaled = (slices.features - self.means) / self.scales
        margins = _BEYOND * (self.highs - self.lows) + _BEYOND_OF_CONSTANT
        is_known = ((scaled >= self.lows - margins) & (scaled <= self.highs + margins)).all(1)
        if is_known.mean() < _LEAST_KNOWN:
            return np.nan, np.nan
        offsets = (slices.heights - scaled @ self.coefficients)[is_known]
        offset = float(np.median(offsets))
        return offset, float(np.median(np.abs(offsets - offset)))


def learn_heights(cases: Sequence[BodySlices], ends: np.ndarray) -> tuple[HeightModel, np.ndarray]:
    """Learn from all cases, and tell how well it does on cases that it has not seen.

    Args:
        cases: At least two.
        ends: (C, E) mm in the image, of each case's annotated ends; nan: not annotated.

    Returns:
        The model, and the offset (C,) that a model which has not seen the case gives it; nan: it does not tell.
    """
    model, offsets = _fitted(cases, ends)
    unseen, disagreements = np.full(len(cases), np.nan), np.full(len(cases), np.nan)
    folds = np.arange(len(cases)) % min(_FOLDS, len(cases))
    for fold in range(min(_FOLDS, len(cases))):
        learned = np.flatnonzero(folds != fold).tolist()
        its_model, its_offsets = _fitted([cases[index] for index in learned], ends[learned])
        shift = np.mean(its_offsets - offsets[learned])  # each fit has a height 0 of its own
        for index in np.flatnonzero(folds == fold).tolist():
            found, disagreements[index] = its_model.offset_and_disagreement(cases[index])
            unseen[index] = found - shift
    most = float(_DISAGREE * np.nanmedian(disagreements)) if np.isfinite(disagreements).any() else 0.0
    parts = {name: getattr(model, name) for name in ("means", "scales", "coefficients", "lows", "highs")}
    return HeightModel(**parts, most_disagreement=most), np.where(disagreements <= most, unseen, np.nan)


def _fitted(cases: Sequence[BodySlices], ends: np.ndarray) -> tuple[HeightModel, np.ndarray]:
    """The model of some cases and their offsets (C,)."""
    features = np.concatenate([slices.features for slices in cases])
    means, scales = features.mean(0), features.std(0)
    scales = np.where(scales > _CONSTANT * (1 + np.abs(means)), scales, 1.0)  # of one that never changes
    ends = ends[:, np.isfinite(ends).any(0)]
    num_cases, num_ends, num_features = len(cases), ends.shape[1], features.shape[1]
    matrix = np.zeros((num_features + num_cases + num_ends,) * 2)
    right = np.zeros(len(matrix))
    of_features = slice(num_features)
    for index, case in enumerate(cases):
        scaled, weight, own = (case.features - means) / scales, _CASE_WEIGHT / len(case.heights), num_features + index
        matrix[of_features, of_features] += weight * scaled.T @ scaled
        matrix[own, of_features] += weight * scaled.sum(0)
        matrix[of_features, own] += weight * scaled.sum(0)
        matrix[own, own] += weight * len(case.heights)
        right[of_features] += weight * scaled.T @ case.heights
        right[own] += weight * case.heights.sum()
        for end in np.flatnonzero(np.isfinite(ends[index])):
            both = np.array([own, num_features + num_cases + end])
            matrix[np.ix_(both, both)] += _END_WEIGHT
            right[both] += _END_WEIGHT * ends[index, end]
    matrix[of_features, of_features] += _RIDGE * num_cases * np.eye(num_features)
    solution = np.linalg.solve(matrix, right)
    scaled = (features - means) / scales
    model = HeightModel(means, scales, solution[of_features], scaled.min(0), scaled.max(0))
    return model, solution[num_features : num_features + num_cases]
