"""Rivalry: how overlapping sigmoid heads become one label per voxel, by probability and by nesting, not by order.

    among exclusive classes   the most probable one wins, where its probability is above 0.5
    a nested class            is asked only where its parent has won (a liver tumor is labelled inside of what is liver);
                              among the classes nested in one parent, again the most probable one wins
    several possible parents  (a kidney tumor: the right or the left kidney) the class is asked where any of them has won, and
                              it also competes with its parents' rivals itself: no source teaches a kidney alone to cover
                              its tumors, so the tumor's own probability stands for the kidney's there

nnU-Net paints every class above 0.5 in the order of `regions_class_order`, later ones over earlier ones: where two organs
overlap by a voxel, the one listed last wins.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

import numpy as np


@dataclass(frozen=True)
class Rivalry:
    """Which class competes with which. Classes are whole numbers from 0 on.

    rivals: Parent (None: no parent) -> the classes that compete where it has won, ascending. Where two are equally probable,
        the first one wins.
    """

    rivals: dict[int | None, tuple[int, ...]]

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """All classes of the tree."""
        return tuple(sorted({k for found in self.rivals.values() for k in found}))

    @cached_property
    def parents(self) -> dict[int, tuple[int | None, ...]]:
        """Class -> every place where it competes."""
        return {k: tuple(parent for parent, found in self.rivals.items() if k in found) for k in self.classes}

    @cached_property
    def outer_to_inner(self) -> tuple[int, ...]:
        """Classes that hold others, each after all of its parents.

        Raises:
            graphlib.CycleError: A class holds itself.
        """
        ordered = TopologicalSorter({k: [p for p in parents if p is not None] for k, parents in self.parents.items()})
        return tuple(k for k in ordered.static_order() if k in self.rivals)

    def possible_winners(self, above: Collection[int]) -> tuple[int, ...]:
        """Those of these classes that can win somewhere, if no other class is above 0.5: not without a parent."""
        possible: set[int] = set()
        for parent in (None, *self.outer_to_inner):
            if parent is None or parent in possible:
                possible.update(k for k in self.rivals[parent] if k in above)
        return tuple(sorted(possible))


def winners_of(rivalry: Rivalry, logits: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """The winning class of each voxel; `ClassTree.winners` is the same for tensors.

    Args:
        logits: (n, ...) of these classes; all others count as below 0.5.
        classes: n indices, ascending.

    Returns:
        Of the logits' type (...): 0 for none, k + 1 for class k.
    """
    row = {k: i for i, k in enumerate(classes)}
    winner = np.zeros_like(logits[0])
    for parent in (None, *rivalry.outer_to_inner):
        rivals = [k for k in rivalry.rivals[parent] if k in row]
        if not rivals or (parent is not None and parent not in row):
            continue
        best, found = np.zeros_like(winner), np.zeros_like(winner)
        for k in rivals:  # ascending: a maximum of numbers keeps the last one that was higher than all before it
            np.maximum(found, (logits[row[k]] > best) * np.array(k + 1, found.dtype), out=found)
            np.maximum(best, logits[row[k]], out=best)
        winner = found if parent is None else np.where((winner == parent + 1) & (found > 0), found, winner)
    return winner
