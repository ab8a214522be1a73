"""Mistakes: which voxels of a prediction are wrong, by the pair of stored values in reference and prediction."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MISSED, SPURIOUS = 1, 2  # of a voxel in one class that is predicted as another one, both


class MistakeKind(NamedTuple):
    """What a page calls a code of `Mistakes`, and how it shows it."""

    name: str
    code: int
    colour: str
    text: str


# Colours that the colour-blind tell apart too, far from those of the first dozen of classes
MISTAKE_KINDS = (
    MistakeKind("missed", MISSED, "#ff2a00", "in the reference, not predicted (false negative)"),
    MistakeKind("spurious", SPURIOUS, "#00a0ff", "predicted, not in the reference (false positive)"),
    MistakeKind("another class", MISSED | SPURIOUS, "#ffffff", "one class missed, another one in its place"),
)


@dataclass(frozen=True)
class Mistakes:
    """Tables of a case over its pairs of values, V of references and P of predictions.

    codes: uint8 (V, P): MISSED, where the reference is of a class that the prediction lacks, plus SPURIOUS, the other way.
    worst: The class with the largest loss; empty where the case is scored on none.
    wrong: Bool (V, P), where that class is missed or spurious.
    touched: Bool (V, P), where it is in the reference or in the prediction.
    """

    codes: np.ndarray
    worst: str
    wrong: np.ndarray
    touched: np.ndarray

    def worst_places(self, reference: np.ndarray, prediction: np.ndarray) -> np.ndarray | None:
        """Bool like the label maps: where the worst class is wrong, else where it is; None: it is nowhere."""
        for table in (self.wrong, self.touched):
            if table.any() and (places := looked_up(table, reference, prediction)).any():
                return places
        return None


def looked_up(table: np.ndarray, reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The entry of each voxel, of the table's type; values that nothing declares count as background.

    Args:
        table: (V, P) by stored values.
        reference, prediction: (Z, Y, X) stored values.
    """
    found = np.empty(reference.shape, table.dtype)
    flat, (height, width) = table.ravel(), table.shape
    for row, column, made in zip(reference, prediction, found):  # indices of a slice and not of the volume
        row, column = (np.where((its < 0) | (its >= end), 0, its) for its, end in ((row, height), (column, width)))
        made[:] = flat[row.astype(np.intp) * width + column]
    return found
