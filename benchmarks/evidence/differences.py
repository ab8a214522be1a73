"""Differences: arms against a control, over the runs that both have, by the patients that these kept back."""

from collections.abc import Collection

import numpy as np
from results import Result, mean_of_known

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean

WORSE = 0.001  # of Dice, which is less than is told


def mean_over_seeds(results: list[Result], metric: str, patients: list[str]) -> np.ndarray:
    """(patients, organs), the mean of the runs that kept a patient back; nan where no reference is."""
    return mean_of_known([result.metric(metric, patients) for result in results], 0)


def told_difference(results: list[Result], control: list[Result], of: Collection[str] | None = None) -> str:
    """Paired difference of the Dice in points with its 95 % interval, patients drawn again, over the runs that both have.

    Args:
        of: The patients that count; None: all.
    """
    own, its = ({(result.split, result.seed): result for result in of} for of in (results, control))
    both = sorted(own.keys() & its.keys())
    if not both:
        return "no run in common"
    patients = sorted({patient for key in both for patient in own[key].scores if of is None or patient in of})
    differences = mean_over_seeds([own[key] for key in both], "Dice", patients)
    differences -= mean_over_seeds([its[key] for key in both], "Dice", patients)
    low, high = interval_of_mean(differences)
    return f"{100 * mean_of_known(mean_of_known(differences, 0)):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def change_cells(before: np.ndarray, after: np.ndarray) -> list[str]:
    """Change of the Dice of the same networks' predictions in points with its 95 % interval, a patient's value the mean of the
    networks and patients drawn again; and of all predicted organs the share that got worse, and better.

    Args:
        before, after: (networks, patients, organs); nan where nothing was predicted or no reference is.
    """
    gain = after - before
    of_patients = mean_of_known(gain, 0)
    low, high = interval_of_mean(of_patients)
    every = gain[~np.isnan(gain)]
    worse, better = ((change > WORSE).mean() for change in (-every, every))
    mean = mean_of_known(mean_of_known(of_patients, 0))
    return [f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})", f"{worse:.0%}", f"{better:.0%}"]
