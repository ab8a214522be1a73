"""Results: the scores of all cases, and their means per class and per source."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Iterable, Mapping, Sequence

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.evaluation.matching import prediction_states
from nnunetv2_cdpd.evaluation.metrics import METRICS


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    metrics: Class or union -> metric -> value; only those that the case is scored on.
    """

    case: str
    source: str
    reference_file: str
    prediction_file: str
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ClassSummary:
    """One class over some cases.

    cases: How many are scored on the class.
    present: How many of them hold it in the reference.
    missed: Present, but not predicted at all.
    spurious: Predicted, but not in the reference at all.
    means: Metric -> mean over the cases in which it is finite; nan if there is none.
    """

    cases: int
    present: int
    missed: int
    spurious: int
    means: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """Scores of a folder of predictions.

    reference: Annotation of the reference's dataset.
    prediction: Annotation by the prediction's labels.
    problems: Cases that could not be scored, one line each.
    """

    reference: Annotation
    prediction: Annotation
    cases: tuple[CaseScores, ...]
    tolerance_mm: float
    problems: tuple[str, ...] = ()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Every class of the reference, then the unions that a case is scored on."""
        scored = {name for case in self.cases for name in case.metrics}
        unions = self.reference.column_names[len(self.reference.classes):]
        return self.reference.classes + tuple(name for name in unions if name in scored)

    @cached_property
    def unknown_classes(self) -> tuple[str, ...]:
        """Classes of the reference that the prediction's labels do not hold; no case is scored on them."""
        known = prediction_states(self.reference, self.prediction)
        return tuple(name for name in self.reference.classes if name not in known)

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """Sources of the cases, in the order of dataset.json."""
        used = {case.source for case in self.cases}
        return tuple(source.name for source in self.reference.sources if source.name in used)

    def cases_of(self, source: str | None = None) -> tuple[CaseScores, ...]:
        """Cases of a source; all cases for None."""
        return tuple(case for case in self.cases if source in (None, case.source))

    def summary(self, name: str, source: str | None = None) -> ClassSummary:
        """A class or union over the cases of a source, or over all cases."""
        return summarize([case.metrics[name] for case in self.cases_of(source) if name in case.metrics])

    def foreground_mean(self, metric: str, source: str | None = None) -> float:
        """Mean of a metric over the means of the classes that can be scored; unions repeat their classes and don't count."""
        return mean_of_finite(self.summary(name, source).means[metric] for name in self.reference.classes)


def summarize(scores: Sequence[Mapping[str, float]], metrics: Sequence[str] = METRICS) -> ClassSummary:
    """Sum up the scores of one class, one entry per case."""
    return ClassSummary(
        cases=len(scores),
        present=sum(score["n_ref"] > 0 for score in scores),
        missed=sum(score["n_ref"] > 0 and score["n_pred"] == 0 for score in scores),
        spurious=sum(score["n_ref"] == 0 and score["n_pred"] > 0 for score in scores),
        means={metric: mean_of_finite(score[metric] for score in scores) for metric in metrics},
    )


def mean_of_finite(values: Iterable[float]) -> float:
    """Mean without nan (nothing to score) and without inf (HD95 of a missed structure, counted as `missed` or `spurious`)."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
