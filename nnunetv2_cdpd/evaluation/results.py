"""Results: the scores of all cases, and their means per class and per source."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean
from nnunetv2_cdpd.evaluation.matching import prediction_states
from nnunetv2_cdpd.evaluation.protocols import NNUNET, Protocol

CLASS_COUNTS = ("cases", "present", "missed", "spurious")  # what a ClassSummary counts


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
    dice_interval: 95 % bootstrap interval of the mean Dice; nan with fewer than two cases.
    """

    cases: int
    present: int
    missed: int
    spurious: int
    means: Mapping[str, float]
    dice_interval: tuple[float, float]


@dataclass(frozen=True)
class Results:
    """Scores of a folder of predictions.

    reference: Annotation of the reference's dataset, with what `nested` says.
    prediction: Annotation by the prediction's labels, likewise.
    problems: Case that could not be scored -> why, one line.
    protocol: Whose rules the scores follow.
    nested: Class or union -> what counts for it on both sides, though not the labels of both say so.
    """

    reference: Annotation
    prediction: Annotation
    cases: tuple[CaseScores, ...]
    tolerance_mm: float
    problems: Mapping[str, str] = field(default_factory=dict)
    protocol: Protocol = NNUNET
    nested: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Every class of the reference, then the unions that a case is scored on."""
        scored = scored_on(self.cases)
        unions = self.reference.column_names[len(self.reference.classes) :]
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
        return self._summaries[source][name]

    def unions_told(self, source: str | None = None) -> list[str]:
        """Of each union that a case of a source is scored on: what it stands for, and whether the mean of classes counts it."""
        scored, counted = scored_on(self.cases_of(source)), self._counted(source)
        told = []
        for name, classes in zip(self.reference.column_names, self.reference.columns):
            if len(classes) > 1 and name in scored:
                group = " or ".join(sorted(classes, key=self.reference.classes.index))
                what = f"{group if name == group else f'{name}: {group}'}, not known which"
                told.append(what if name in counted else f"{what}; not in the mean, which has its classes")
        return told

    def foreground_means(self, source: str | None = None) -> dict[str, float]:
        """Metric -> mean over the means of the classes; see `counted_in_mean`."""
        means = [self.summary(name, source).means for name in self._counted(source)]
        return {metric: mean_of_finite(its[metric] for its in means) for metric in self.protocol.metrics}

    def foreground_dice_interval(self, source: str | None = None) -> tuple[float, float]:
        """95 % bootstrap interval of `foreground_means()["Dice"]`."""
        counted = self._counted(source)
        rows = [
            [case.metrics[name]["Dice"] if name in case.metrics else math.nan for name in counted]
            for case in self.cases_of(source)
        ]
        return interval_of_mean(np.array(rows, float).reshape(-1, len(counted)))

    def _counted(self, source: str | None) -> list[str]:
        return counted_in_mean(self.reference, scored_on(self.cases_of(source)))

    @cached_property
    def _summaries(self) -> dict[str | None, dict[str, ClassSummary]]:
        return {
            source: {
                name: _summarize([case.metrics[name] for case in self.cases_of(source) if name in case.metrics], self.protocol)
                for name in self.class_names
            }
            for source in (None, *self.source_names)
        }


def scored_on(cases: Iterable[CaseScores]) -> set[str]:
    """Classes and unions that a case is scored on."""
    return {name for case in cases for name in case.metrics}


def counted_in_mean(annotation: Annotation, scored: Collection[str]) -> list[str]:
    """Of the scored classes and unions those that count in the mean of classes.

    A union repeats its classes, so it counts only where none of them is scored alone.
    """
    members = [{name for name, member in zip(annotation.classes, row) if member} for row in annotation.members]
    unions = annotation.column_names[len(annotation.classes) :]
    alone = [union for union, its in zip(unions, members) if union in scored and its.isdisjoint(scored)]
    return [name for name in annotation.classes if name in scored] + alone


def _summarize(scores: Sequence[Mapping[str, float]], protocol: Protocol) -> ClassSummary:
    """Sum up the scores of one class, one entry per case."""
    missed, spurious = missed_and_spurious(scores)
    return ClassSummary(
        cases=len(scores),
        present=sum(score["n_ref"] > 0 for score in scores),
        missed=missed,
        spurious=spurious,
        means={metric: mean_of_finite(score[metric] for score in scores) for metric in protocol.metrics},
        dice_interval=interval_of_mean(np.array([[score["Dice"]] for score in scores], float).reshape(-1, 1)),
    )


def missed_and_spurious(scores: Collection[Mapping[str, float]]) -> tuple[int, int]:
    """In how many scores a structure is present but not predicted at all, and predicted but not present at all."""
    missed = sum(score["n_ref"] > 0 and score["n_pred"] == 0 for score in scores)
    return missed, sum(score["n_ref"] == 0 and score["n_pred"] > 0 for score in scores)


def mean_of_finite(values: Iterable[float]) -> float:
    """Mean without nan (nothing to score) and inf (nnU-Net's HD95 of a missed structure, counted as `missed` or `spurious`)."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
