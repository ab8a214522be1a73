"""QualityModel: all that a calibration found, as it judges a prediction, and as JSON: numbers and names, no code and no case."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from nnunetv2_cdpd.quality.absent import AbsentModel
from nnunetv2_cdpd.quality.anatomy import ClassAnatomy
from nnunetv2_cdpd.quality.features import FEATURES, features_of
from nnunetv2_cdpd.quality.flags import Flags
from nnunetv2_cdpd.quality.intervals import VolumeIntervals
from nnunetv2_cdpd.quality.probabilities import Platt, Reliability
from nnunetv2_cdpd.quality.regression import Regression

_LARGE_SHARE = 0.9  # of training cases, whose volumes limit that of a class that may have been missed
_NORMAL_QUANTILE = 1.645  # of that share on both sides
# What of the features a flag can say in words: feature -> (words where it is low, where it is high).
_WORDS = {
    "expected_dice": ("its probabilities are unsure", ""),
    "sharpness": ("its border is blurred", ""),
    "edge": ("", "its border is blurred"),
    "outside": ("", "it may reach farther"),
    "size": ("small for this class", "large for this class"),
    "intensity": ("", "its intensities are unusual"),
    "place": ("", "not where this class lies"),
    "pieces": ("", "in many pieces"),
    "border": ("", "cut by the border of the image"),
    "others": ("the whole image is unusual", ""),
}
_UNUSUAL = 2.0  # standard deviations from the validation cases, for a feature to be told


@dataclass(frozen=True)
class ClassQuality:
    """What is to be expected of one class in one prediction.

    present: Whether the label map has any of it.
    predicted_dice: 0 to 1; of a class that is nowhere the probability that this is right.
    volume_ml: Of the label map; None of a 2D image, as are the next two.
    volume_low_ml, volume_high_ml: Limits of the true volume, with 90 % probability; upper one None: nothing is known.
    look: It should be looked at.
    why: What is unusual about it, in words.
    """

    present: bool
    predicted_dice: float
    volume_ml: float | None
    volume_low_ml: float | None
    volume_high_ml: float | None
    look: bool
    why: tuple[str, ...]


@dataclass(frozen=True)
class QualityModel:
    """A calibration.

    classes: Names, in the order of the effects of the regression.
    folds: Name of a fold -> digest of the weights that were calibrated.
    settings: `PathSettings` of the predictions.
    cases: How many.
    class_cases: Class -> how many say something of it.
    usual: See `features.features_of`.
    found: What the cross-validation showed, by name.
    reliability: Class -> of its probabilities, and of those calibrated by the other folds.
    flat: Of 2D images, of which no volume is true.
    """

    classes: tuple[str, ...]
    folds: Mapping[str, str]
    settings: Mapping[str, Any]
    cases: int
    class_cases: Mapping[str, int]
    usual: Mapping[str, float]
    anatomy: Mapping[str, ClassAnatomy]
    regression: Regression
    absent: AbsentModel
    intervals: VolumeIntervals
    flags: Flags
    platt: Mapping[str, Platt]
    found: Mapping[str, float | None]
    reliability: Mapping[str, tuple[Reliability, Reliability]] = field(default_factory=dict)
    flat: bool = False

    def judge(self, facts: Mapping[str, Mapping[str, Any]], volumes_ml: Mapping[str, float | None]) -> dict[str, ClassQuality]:
        """Class -> what is to be expected of it.

        Args:
            facts: Of a case and all classes, as `facts.facts_of` gives them.
            volumes_ml: Of the label map, of the classes that it is to tell of.
        """
        features = features_of(facts, self.anatomy, self.usual)
        return {
            name: self._of_present(name, features[name], volume_ml)
            if name in features and volume_ml != 0  # a few voxels of the network's grid may be nothing on the image's
            else self._of_absent(name, facts[name]["highest"], volume_ml)
            for name, volume_ml in volumes_ml.items()
        }

    def _of_present(self, name: str, features: np.ndarray, volume_ml: float | None) -> ClassQuality:
        index = self.classes.index(name) if name in self.classes else -1
        dice = float(self.regression.predict(features[None], np.array([index]))[0])
        low, high = (None, None) if volume_ml is None else self.intervals.of(name, dice, volume_ml)
        look = self.flags.is_flagged(name, dice)
        return ClassQuality(True, dice, volume_ml, low, _finite(high), look, self._why(features) if look else ())

    def _of_absent(self, name: str, highest: float, volume_ml: float | None) -> ClassQuality:
        right = 1 - self.absent.probability_missed(name, highest)
        low, high = (None, None) if volume_ml is None else (0.0, 0.0)
        if volume_ml is not None and right < _LARGE_SHARE:
            its = self.anatomy.get(name)
            high = None if its is None else math.exp(its.log_volume + _NORMAL_QUANTILE * its.log_volume_sd)
        look = self.flags.is_flagged(name, right)
        return ClassQuality(False, right, volume_ml, low, high, look, ("not found",) if look else ())

    def _why(self, features: np.ndarray) -> tuple[str, ...]:
        """What is most unusual of a prediction, at most two things."""
        scaled = dict(zip(FEATURES, self.regression.scaled(features)))
        words: dict[str, float] = {}
        for feature, (if_low, if_high) in _WORDS.items():
            if (said := if_low if scaled[feature] < 0 else if_high) and abs(scaled[feature]) >= _UNUSUAL:
                words[said] = max(words.get(said, 0.0), abs(float(scaled[feature])))
        return tuple(sorted(words, key=lambda said: -words[said])[:2])

    def calibrated_logits(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Class -> logits whose sigmoid is a calibrated probability."""
        return {
            name: its.mul(platt.scale).add_(platt.shift) if (platt := self.platt.get(name)) else its
            for name, its in logits.items()
        }

    # ---- JSON ------------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        return _plain(asdict(self))

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "QualityModel":
        """Of JSON that has the shape `model_shape.MODEL`."""
        regression = content["regression"]
        return cls(
            **{key: content[key] for key in ("folds", "settings", "cases", "class_cases", "usual", "found", "flat")},
            classes=tuple(content["classes"]),
            anatomy={name: ClassAnatomy(**its) for name, its in content["anatomy"].items()},
            regression=Regression(
                **{key: np.array(regression[key], float) for key in ("means", "scales", "slopes", "effects")},
                intercept=regression["intercept"],
            ),
            absent=AbsentModel(**content["absent"]),
            intervals=VolumeIntervals(**{**content["intervals"], "width": _infinite(content["intervals"]["width"])}),
            flags=Flags(**content["flags"]),
            platt={name: Platt(**its) for name, its in content["platt"].items()},
            reliability={
                name: (Reliability(**before), Reliability(**after)) for name, (before, after) in content["reliability"].items()
            },
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(its) for key, its in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(its) for its in value]
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _infinite(value: float | None) -> float:
    return math.inf if value is None else value
