"""Bootstrap: confidence intervals of mean scores, from the cases drawn again with replacement.

Not scipy.stats.bootstrap, because the mean over classes needs whole cases to be drawn while cases lack some classes.
"""

import math
from functools import lru_cache

import numpy as np

CONFIDENCE = 0.95
DRAWS = 2000
_SEED = 0  # the same scores get the same interval


def interval_of_mean(values: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the mean over columns of the mean over rows.

    Args:
        values: (cases, classes); entries that are not finite are left out of the mean of their column.

    Returns:
        Lower and upper limit of the 95 % interval; nan where fewer than two cases have a value.
    """
    finite = np.isfinite(values)
    values, finite = values[finite.any(1)], finite[finite.any(1)]
    num_cases = len(values)
    if num_cases < 2:
        return math.nan, math.nan
    drawn = _drawn(num_cases)
    sums, counts = drawn @ np.where(finite, values, 0.0), drawn @ finite.astype(float)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    # each draw has a case with a value, so no draw is without a class
    low, high = np.quantile(np.nanmean(means, axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=1)  # classes often have the same number of cases, and drawing takes most of the time
def _drawn(num_cases: int) -> np.ndarray:
    """How often each case is drawn, float (draws, cases)."""
    drawn = np.random.default_rng(_SEED).multinomial(num_cases, np.full(num_cases, 1 / num_cases), size=DRAWS)
    return drawn.astype(float)
