"""BlockSums: what the probabilities of a prediction say of each class, added up while the blocks of logits pass by.

Nothing of all classes is held: of a block a few numbers per class stay, and where each class won, as one label map on the
network's grid (`shapes` tells what lies there). Voxels in which a class is less probable than TAIL count as without it: a
background of many voxels, each of a tiny probability, would outweigh a small organ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE
from nnunetv2_cdpd.inference.blocks import Block
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.volumes.axes import in_all_channels

TAIL = 0.01
_LEAST = math.log(TAIL / (1 - TAIL))  # as a logit
_PLANES = 16  # of a block that are looked at together
SHARES = (0.25, 0.5, 0.75)  # probabilities above which voxels are counted
# Logits between which voxels are counted for the calibration of probabilities; the outer ones hold what lies beyond.
LOGIT_EDGES = tuple(round(float(edge), 4) for edge in np.linspace(_LEAST, -_LEAST, 36))
SUMS = (
    "probability",
    "probability_inside",
    "doubt",
    "doubt_inside",
    "entropy_inside",
    "intensity_inside",
    *(f"above_{share}" for share in SHARES),
)


@dataclass(frozen=True)
class ClassSums:
    """One class over a volume.

    sums: Name of `SUMS` -> voxels: the sum of p; of p where the class is labelled; of 4 p (1 - p), 1 where p is 0.5, likewise
        twice; of the entropy of p in bits where it is labelled; of the first channel's intensity there, as the network sees
        it; the number with p above a share.
    highest: Highest logit; -inf where the class was not computed.
    counts: int (2, bins): voxels between LOGIT_EDGES without and with the class in the reference; None: no reference.
    """

    sums: dict[str, float]
    highest: float
    counts: np.ndarray | None = None


_Part = tuple[Tensor, Tensor, Tensor | None, int]  # sums, highest logits and counts of a part of a volume, and its voxels


class BlockSums:
    """Takes the blocks of a volume, in any order.

    Args:
        data: (C, x, y, z), the image as the network sees it; not held any longer once all voxels were seen.
        classes: The n classes that the logits belong to, ascending.
        tree: Which class competes with which.
        reference: (x, y, z) stored values of the reference there; None: there is none.
        table: (V, K) of the reference's source, what a stored value says of a class (`Annotation.tables`).
    """

    def __init__(
        self,
        data: Tensor,
        classes: Sequence[int],
        tree: ClassTree,
        reference: np.ndarray | None = None,
        table: np.ndarray | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.tree = tree
        self.winners = np.zeros(tuple(data.shape[1:]), np.uint8 if max(classes, default=0) < 255 else np.uint16)
        self.inside = inside_table(tree)
        self._image: Tensor | None = data[0]
        self._reference, self._table = reference, table
        self._parts: list[_Part] = []

    def __call__(self, block: Block) -> None:
        try:
            parts = self._parts_of(block)
        except torch.cuda.OutOfMemoryError:  # beside the sums of other blocks
            if block.values.device.type == "cpu":
                raise
            parts = self._parts_of(block.to(torch.device("cpu")))
        self._parts += parts
        if sum(part[3] for part in self._parts) == self.winners.size:
            self._image = None

    def _parts_of(self, block: Block) -> list[_Part]:
        if self._image is None:
            raise RuntimeError("a block after the last one")
        parts = []
        cut = [slice(begin - start, stop - start) for (begin, stop), start in zip(block.own, block.start)]
        values = block.values[in_all_channels(cut)]
        for start in range(0, values.shape[1], _PLANES):
            logits = block.readout(values[:, start : start + _PLANES]).float()
            place = tuple(slice(begin, stop) for begin, stop in block.own)
            first = block.own[0][0] + start
            place = (slice(first, first + logits.shape[1]), *place[1:])
            parts.append(self._part(logits, place, self._image[place].to(logits.device)))
        return parts

    def _part(self, logits: Tensor, place: tuple[slice, ...], image: Tensor) -> _Part:
        highest = logits.flatten(1).amax(1)
        rows = [row for row, value in enumerate(highest.tolist()) if value > 0]
        possible = self.tree.possible_winners([self.classes[row] for row in rows]) if rows else ()
        rows = [row for row in rows if self.classes[row] in possible]
        winners = torch.zeros(logits.shape[1:], dtype=torch.int32, device=logits.device)
        if rows:
            its = logits.index_select(0, torch.tensor(rows, device=logits.device))
            winners = self.tree.winners(its, [self.classes[row] for row in rows])
        self.winners[place] = winners.cpu().numpy()
        reference = None if self._reference is None else torch.from_numpy(self._reference[place].astype(np.int64))
        sums = torch.zeros((len(self.classes), len(SUMS)), dtype=torch.float64, device=logits.device)
        counts = torch.zeros((len(self.classes), 2, len(LOGIT_EDGES) + 1), dtype=torch.int64) if reference is not None else None
        for row in (row for row, value in enumerate(highest.tolist()) if value > _LEAST):
            active = logits[row] > _LEAST
            found = logits[row][active]
            inside = torch.from_numpy(self.inside[self.classes[row]]).to(found.device)[winners[active].long()].float()
            sums[row] = torch.stack(_class_sums(found, inside, image[active]))
            if counts is not None and reference is not None and self._table is not None:
                says = torch.from_numpy(self._table[:, self.classes[row]])[reference[active.cpu()]]
                bins = torch.bucketize(found.cpu(), torch.tensor(LOGIT_EDGES))
                for state in (NEGATIVE, POSITIVE):
                    counts[row, state] = torch.bincount(bins[says == state], minlength=len(LOGIT_EDGES) + 1)
        return sums, highest, counts, winners.numel()

    def of_classes(self) -> dict[int, ClassSums]:
        """Class -> its sums over all blocks."""
        sums = torch.stack([part[0].cpu() for part in self._parts]).sum(0).tolist()
        highest = torch.stack([part[1].cpu() for part in self._parts]).amax(0).tolist()
        its_counts = [part[2] for part in self._parts if part[2] is not None]
        counts = torch.stack(its_counts).sum(0).numpy() if its_counts else None
        return {
            k: ClassSums(dict(zip(SUMS, sums[row])), highest[row], None if counts is None else counts[row])
            for row, k in enumerate(self.classes)
        }


def _class_sums(logits: Tensor, inside: Tensor, image: Tensor) -> list[Tensor]:
    """Those of `SUMS`, of the logits of some voxels, whether they are labelled (0 or 1), and their intensities."""
    p = torch.sigmoid(logits)
    doubt = 4 * p * (1 - p)
    entropy = -(p * torch.log2(p) + torch.xlogy(1 - p, 1 - p) / math.log(2))
    weighted = [p, p * inside, doubt, doubt * inside, entropy * inside, image.float() * inside]
    weighted += [(p > share).float() for share in SHARES]
    return [each.sum(dtype=torch.float64) for each in weighted]


def inside_table(tree: ClassTree) -> np.ndarray:
    """Bool (K, K + 1): whether what class j - 1 won (column j; 0: nobody) lies in a class."""
    num_classes = len(tree.annotation.classes)
    inside = np.zeros((num_classes, num_classes + 1), bool)
    for winner in tree.classes:
        for k in (winner, *tree.ancestors[winner]):
            inside[k, winner + 1] = True
    return inside
