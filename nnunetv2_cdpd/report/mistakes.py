"""mistakes_of: what is wrong in a case, by the rules by which it is scored."""

import math

import numpy as np

from nnunetv2_cdpd.evaluation.metrics import scored_masks
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.pages.mistakes import MISSED, SPURIOUS, Mistakes


def mistakes_of(results: Results, case: CaseScores | None) -> Mistakes | None:
    """Mistakes of a case in the classes and unions that it is scored on; None: it is not among the results.

    The worst class is the one with the lowest Dice, of several the one with more wrong voxels.
    """
    if case is None:
        return None
    reference = results.reference
    source = [its.name for its in reference.sources].index(case.source)
    masks = scored_masks(reference, source, results.prediction)
    codes = np.zeros((reference.num_values, results.prediction.num_values), np.uint8)
    for in_reference, in_prediction in masks.values():
        codes[in_reference & ~in_prediction] |= MISSED
        codes[in_prediction & ~in_reference] |= SPURIOUS
    scored = {name: its for name, its in case.metrics.items() if math.isfinite(its["Dice"]) and name in masks}
    worst = min(scored, key=lambda name: (scored[name]["Dice"], -scored[name]["FP"] - scored[name]["FN"]), default="")
    nowhere = np.zeros(codes.shape, bool)
    one, other = masks[worst] if worst else (nowhere, nowhere)
    return Mistakes(codes, worst, one != other, one | other)
