"""Regression: from features to the Dice of a prediction, by ridge regression of its logit with an effect of each class.

Few cases are the rule. So it is linear, what it cannot know is shrunk to nothing, and how much, and which features, is
chosen by cross-validation over cases; the predictions from which everything else is calibrated are those of an outer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.quality.features import FEATURES, logit

_GROUPS = 10  # of cases, at most
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # of the ridge, in rows
_CLASS_STRENGTHS = (2.0, 10.0, 50.0)  # the same of the effects of classes
_SETS = (("expected_dice",), ("expected_dice", "sharpness", "inside", "outside", "edge", "entropy", "others"), FEATURES)
_FARTHEST = 5.0  # standard deviations of a feature
_DEGRADED_WEIGHT = 0.3  # of a row of a degraded image


@dataclass(frozen=True)
class Rows:
    """Predictions that are somewhere, one per case and class.

    features: (rows, features).
    dice: (rows,).
    classes: (rows,) index of the class.
    cases: (rows,) index of the case.
    intact: Bool (rows,): of the image itself, not of a degraded one.
    """

    features: np.ndarray
    dice: np.ndarray
    classes: np.ndarray
    cases: np.ndarray
    intact: np.ndarray


@dataclass(frozen=True)
class Regression:
    """A fitted regression; predicts sigmoid(intercept + effect of the class + slopes of scaled features).

    means, scales: Of the features.
    slopes: 0 for features that were not chosen.
    effects: Of each class.
    """

    means: np.ndarray
    scales: np.ndarray
    slopes: np.ndarray
    intercept: float
    effects: np.ndarray

    def scaled(self, features: np.ndarray) -> np.ndarray:
        return np.clip((features - self.means) / self.scales, -_FARTHEST, _FARTHEST)

    def predict(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """(rows, features) and class indices (rows,), -1 for one without an effect -> Dice (rows,)."""
        effects = np.where(classes >= 0, self.effects[classes], 0.0)
        return sigmoid(self.intercept + effects + self.scaled(features) @ self.slopes)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def fit(rows: Rows, num_classes: int) -> tuple[Regression, np.ndarray]:
    """Fit to all rows, with the settings that predict other cases best.

    Returns:
        The regression, and what regressions without a row's case (chosen without it too) predict of it, (rows,).
    """
    groups = rows.cases % min(_GROUPS, 1 + int(rows.cases.max()))
    design, means, scales = _design(rows, num_classes)
    grams = {int(group): _gram(design[groups == group], rows, groups == group) for group in np.unique(groups)}
    beyond = np.zeros(len(rows.dice))
    for group in grams:
        others = {key: gram for key, gram in grams.items() if key != group}
        setting = _best(design, rows, groups, others) if len(others) > 1 else _SETTINGS[-1]
        its = groups == group
        beyond[its] = sigmoid(design[its] @ _solve(list(others.values()) or [grams[group]], setting))
    solution = _solve(list(grams.values()), _best(design, rows, groups, grams) if len(grams) > 1 else _SETTINGS[-1])
    n = len(FEATURES)
    return Regression(means, scales, solution[1 : n + 1], float(solution[0]), solution[n + 1 :]), beyond


_SETTINGS = [(names, ridge, of_class) for names in _SETS for ridge in _STRENGTHS for of_class in _CLASS_STRENGTHS]
_Setting = tuple[Sequence[str], float, float]
_Gram = tuple[np.ndarray, np.ndarray]


def _design(rows: Rows, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, 1 + features + classes), and mean and scale of the features."""
    intact = rows.features[rows.intact]
    means, scales = intact.mean(0), intact.std(0)
    scales = np.where(scales > 1e-6, scales, 1.0)
    scaled = np.clip((rows.features - means) / scales, -_FARTHEST, _FARTHEST)
    of_class = rows.classes[:, None] == np.arange(num_classes)
    return np.hstack([np.ones((len(scaled), 1)), scaled, of_class]), means, scales


def _gram(design: np.ndarray, rows: Rows, its: np.ndarray) -> _Gram:
    weights = np.where(rows.intact[its], 1.0, _DEGRADED_WEIGHT)
    targets = np.array([logit(dice) for dice in np.clip(rows.dice[its], 0.02, 0.98)])
    return (design * weights[:, None]).T @ design, (design * weights[:, None]).T @ targets


def _solve(grams: Sequence[_Gram], setting: _Setting) -> np.ndarray:
    names, ridge, of_class = setting
    left, right = np.sum([gram[0] for gram in grams], 0), np.sum([gram[1] for gram in grams], 0)
    n = len(FEATURES)
    strengths = np.full(len(left), of_class)
    strengths[0] = 1e-6
    strengths[1 : n + 1] = [ridge if name in names else 1e9 for name in FEATURES]
    return np.linalg.solve(left + np.diag(strengths), right)


def _best(design: np.ndarray, rows: Rows, groups: np.ndarray, grams: Mapping[int, _Gram]) -> _Setting:
    """The setting that predicts the Dice of groups best that it has not seen, of intact images and, at less weight, others."""
    weights = np.where(rows.intact, 1.0, _DEGRADED_WEIGHT)
    errors = []
    for setting in _SETTINGS:
        error = 0.0
        for group in grams:
            its = groups == group
            solution = _solve([gram for key, gram in grams.items() if key != group], setting)
            error += float(weights[its] @ np.abs(sigmoid(design[its] @ solution) - rows.dice[its]))
        errors.append(error)
    return _SETTINGS[int(np.argmin(errors))]
