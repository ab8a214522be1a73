"""ClassTree: the classes of a dataset as `portable.rivalry` has them compete: what nests in what, what is needed for whom."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable.rivalry import Rivalry


@dataclass(frozen=True)
class ClassTree(Rivalry):
    """Which class competes with which. Classes are indices into `annotation.classes`, in the order of the dataset.json.

    ancestors: Class -> the classes that certainly hold all of its voxels, inner ones first.
    """

    annotation: Annotation
    ancestors: dict[int, tuple[int, ...]]

    @classmethod
    def of(cls, annotation: Annotation, classes: Collection[str] | None = None) -> "ClassTree":
        """The tree of a dataset's classes.

        Args:
            classes: Only these exist; None: all. A class whose parent is left out lies in the next one further out.

        Raises:
            UserError: Two classes overlap and neither holds the other.
        """
        names = [name for name in annotation.classes if classes is None or name in classes]
        index = {name: annotation.classes.index(name) for name in names}
        region = {index[name]: frozenset(annotation.regions[index[name]]) for name in names}
        ancestors = {}
        for k in region:
            for other in region:
                if region[k] & region[other] and not (region[k] <= region[other] or region[other] <= region[k]):
                    raise UserError(
                        f"{annotation.where}: {annotation.classes[k]!r} and {annotation.classes[other]!r} overlap and neither "
                        "holds the other, so one label map cannot say both; predict with nnUNetv2_predict"
                    )
            holding = [other for other in region if region[k] < region[other]]
            ancestors[k] = tuple(sorted(holding, key=lambda other: len(region[other])))

        def possible(k: int) -> list[int]:
            found = [index[name] for name in annotation.possible_parents.get(annotation.classes[k], ()) if name in index]
            return [] if set(found) & set(ancestors[k]) else found  # where one of them is certain, no choice is left

        level: dict[int, list[int | None]] = {k: [*(possible(k) or ancestors[k][:1] or (None,))] for k in region}
        rivals: dict[int | None, list[int]] = {None: []}
        for k, places in level.items():
            if len(places) > 1:  # competes beside its parents too: where they all lie in one parent, there, else outside
                outer = {parent for p in places if p is not None for parent in level[p]}
                places = [*places, outer.pop() if len(outer) == 1 else None]
            for parent in places:
                rivals.setdefault(parent, []).append(k)
        return cls({parent: tuple(found) for parent, found in rivals.items()}, annotation, ancestors)

    def indices(self, names: Collection[str]) -> tuple[int, ...]:
        """Indices of class names.

        Raises:
            UserError: A name is unknown.
        """
        known = [self.annotation.classes[k] for k in self.classes]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UserError(f"no class {', '.join(unknown)}; this model predicts {', '.join(known)}")
        return tuple(k for k in self.classes if self.annotation.classes[k] in names)

    def needed_for(self, wanted: Collection[int]) -> tuple[int, ...]:
        """The classes whose logits decide where these classes are: themselves, what holds them, and all their rivals.

        A class nested in a wanted one is not needed, since its voxels belong to the wanted one either way; one with several
        possible parents is, since it takes its voxels away from them.
        """
        needed: set[int] = set()
        waiting: list[int | None] = []
        for k in wanted:
            waiting += self.parents[k]
            if any(len(self.parents[rival]) > 1 for rival in self.rivals.get(k, ())):
                waiting.append(k)
        while waiting:
            parent = waiting.pop()
            needed.update(self.rivals[parent])
            if parent is not None:
                waiting += self.parents[parent]
        return tuple(sorted(needed))

    def stored_values(self, wanted: Collection[int]) -> np.ndarray:
        """What to write for each winner: uint16, index 0 for no winner, k + 1 for class k.

        A class that is not wanted is written as the innermost wanted class that holds it, or not at all.
        """
        values = np.zeros(len(self.annotation.classes) + 1, np.uint16)
        for k in self.classes:
            written = next((other for other in (k, *self.ancestors[k]) if other in wanted), None)
            values[k + 1] = 0 if written is None else self.annotation.values[written]
        return values

    def winners(self, logits: Tensor, classes: Sequence[int]) -> Tensor:
        """The winning class of each voxel.

        Args:
            logits: (n, ...) of these classes; all others count as below 0.5.
            classes: n indices, ascending.

        Returns:
            int32 (...): 0 for none, k + 1 for class k.
        """
        row = {k: i for i, k in enumerate(classes)}
        winner = torch.zeros_like(logits[0])
        for parent in (None, *self.outer_to_inner):
            rivals = [k for k in self.rivals[parent] if k in row]
            if not rivals or (parent is not None and parent not in row):
                continue
            found = _highest({k + 1: logits[row[k]] for k in rivals})
            winner = found if parent is None else torch.where((winner == parent + 1) & (found > 0), found, winner)
        return winner.int()


def _highest(logits: Mapping[int, Tensor]) -> Tensor:
    """For each voxel the number of the highest logit, the lowest number among equals; 0 where none is positive.

    Args:
        logits: By number, ascending.

    Returns:
        The numbers in the logits' type, since an operation between types takes several times as long on a CPU.
    """
    best, number_of_best, higher = (torch.zeros_like(next(iter(logits.values()))) for _ in range(3))
    for number, logit in logits.items():
        # Later numbers are higher ones, so that a maximum keeps them; faster than to assign by a mask.
        torch.maximum(number_of_best, torch.gt(logit, best, out=higher).mul_(number), out=number_of_best)
        torch.maximum(best, logit, out=best)
    return number_of_best
