"""Compare: two models' scores on the same cases, class by class, with Wilcoxon's signed rank test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean
from nnunetv2_cdpd.evaluation.results import ClassSummary, Results


@dataclass(frozen=True)
class ClassComparison:
    """One metric of one class in the cases in which both models have it.

    difference: Mean of the first minus the second.
    interval: 95 % bootstrap interval of the mean difference.
    better, worse, equal: Cases in which the first model is better, worse or the same.
    p: Of Wilcoxon's signed rank test, two-sided; 1 where no case differs.
    p_holm: p corrected by Holm for all classes of this metric.
    """

    name: str
    cases: int
    mean: float
    other_mean: float
    difference: float
    interval: tuple[float, float]
    better: int
    worse: int
    equal: int
    p: float
    p_holm: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Results of two models, restricted to the cases that both were scored on.

    left_out: Cases that only one of them was scored on.
    """

    results: Results
    other: Results
    left_out: tuple[str, ...]

    @cached_property
    def classes(self) -> dict[str, tuple[ClassComparison, ...]]:
        """Metric -> every class and union in which the models can be compared."""
        return {metric: self._compared(metric) for metric in ("Dice", self.results.protocol.distance, "SurfaceDice")}

    def summaries(self, name: str) -> tuple[ClassSummary, ClassSummary]:
        """The summaries of a class for both models."""
        return self.results.summary(name), self.other.summary(name)

    def _compared(self, metric: str) -> tuple[ClassComparison, ...]:
        found = []
        for name in self.results.class_names:
            both = [
                (own.metrics[name][metric], its.metrics[name][metric])
                for own, its in zip(self.results.cases, self.other.cases)
                if name in own.metrics and name in its.metrics
            ]
            pairs = np.array(both, float).reshape(-1, 2)
            pairs = pairs[np.isfinite(pairs).all(1)]
            if len(pairs):
                found.append(_compare(name, pairs, smaller_is_better=metric == self.results.protocol.distance))
        corrected = holm([entry.p for entry in found])
        return tuple(replace(entry, p_holm=p) for entry, p in zip(found, corrected))


def compare_results(results: Results, other: Results) -> Comparison:
    """Pair the results of two models case by case.

    Raises:
        UserError: They have no case in common, or were scored by different protocols or tolerances.
    """
    rules, other_rules = ((which.protocol.name, which.tolerance_mm) for which in (results, other))
    if rules != other_rules:
        raise UserError(f"results by protocol and tolerance {rules} and {other_rules} cannot be compared; evaluate both alike")
    common = {case.case for case in results.cases} & {case.case for case in other.cases}
    if not common:
        raise UserError("the two models have no case in common, so nothing can be compared")
    left_out = {case.case for case in (*results.cases, *other.cases)} - common
    by_name = ({case.case: case for case in which.cases} for which in (results, other))
    order = [case.case for case in results.cases if case.case in common]  # the same in both: cases are compared by their place
    own, its = (replace(which, cases=tuple(cases[case] for case in order)) for which, cases in zip((results, other), by_name))
    return Comparison(own, its, left_out=tuple(sorted(left_out)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method, in the order given."""
    order = np.argsort(p_values)
    scaled = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected.tolist()


def smallest_p(changed: int, cases: int) -> float:
    """What p of the two-sided test cannot fall below: the chance that all differences have one sign, either of the two.

    Args:
        changed: Cases in which the models differ, which are those that the test takes; with none, all could have differed.
    """
    return min(1.0, 2.0 ** (1 - (changed or cases)))


def _compare(name: str, pairs: np.ndarray, smaller_is_better: bool) -> ClassComparison:
    from scipy.stats import wilcoxon  # imported here: it takes a second, and not every evaluation compares

    differences = pairs[:, 0] - pairs[:, 1]
    gains = -differences if smaller_is_better else differences
    changed = differences[differences != 0]
    return ClassComparison(
        name,
        cases=len(pairs),
        mean=float(pairs[:, 0].mean()),
        other_mean=float(pairs[:, 1].mean()),
        difference=float(differences.mean()),
        interval=interval_of_mean(differences[:, None]),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        equal=int((gains == 0).sum()),
        p=float(wilcoxon(changed).pvalue) if changed.size else 1.0,
    )
