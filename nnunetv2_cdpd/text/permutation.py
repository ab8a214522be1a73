"""Permuted text, the control of what text is worth: every class gets the embedding of another one."""

import numpy as np

_SEED = 20250524


def permuted(count: int) -> list[int]:
    """For each of so many classes, the class whose embedding it gets: the same at every call, and never its own.

    Raises:
        ValueError: There is one class only.
    """
    if count < 2:
        raise ValueError(f"permuting needs at least two classes, got {count}")
    circle = np.random.default_rng(_SEED).permutation(count)
    given = np.empty(count, int)
    given[circle] = np.roll(circle, 1)
    return given.tolist()
