"""DiceLevels: the level of each class above which a voxel belongs to it, chosen so that the expected Dice is highest.

A voxel belongs to a class where its logit is above 0, a probability of 0.5. That minimises errors of voxels, not Dice. If the
voxels are independent and their probabilities are right, a mask of k voxels has the expected Dice

    D(k) = 2 S(k) / (k + S(all)),    S(k): the sum of the k highest probabilities

but for terms that vanish as the structure grows, so the best mask of an image is a level, half of its expected Dice: an organ
of expected Dice 0.8 begins at 0.4, a tumor of 0.5 at 0.25. It takes one histogram for each class, filled block by block.
No level is below a probability of 0.1: where so little Dice is expected, hardly anything is known of the class, and a few voxels
above 0.5 would bring in all of a faint haze around them.

Source: Dai and Li, RankSEG, arXiv 2206.13086; Lipton et al., arXiv 1402.1892 (half of the optimum).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from nnunetv2_cdpd.inference.blocks import Block

_LOWEST, _HIGHEST, _STEP = -2.1875, 9.0, 1 / 64  # logits that a level is looked for among: probabilities of 0.1 and more
_BINS = round((_HIGHEST - _LOWEST) / _STEP)


class DiceLevels:
    """Collects what the levels of n classes depend on.

    A class that nowhere reaches 0.5 keeps its level, so that nothing appears where nothing was.
    """

    def __init__(self, num_classes: int) -> None:
        self._counts = torch.zeros(num_classes, _BINS, dtype=torch.double)
        self._sums = torch.zeros(num_classes, _BINS, dtype=torch.double)
        self._expected_voxels = torch.zeros(num_classes, dtype=torch.double)
        self._highest = torch.full((num_classes,), -torch.inf, dtype=torch.double)

    def add(self, block: Block) -> None:
        """Count the block's own voxels, each of which no other block has."""
        for row, logits in enumerate(block.own_logits()):
            flat = logits.flatten().double().cpu()
            probabilities = torch.sigmoid(flat)
            self._expected_voxels[row] += probabilities.sum()
            self._highest[row] = torch.maximum(self._highest[row], flat.max())
            near = flat >= _LOWEST
            bins = ((flat[near] - _LOWEST) / _STEP).long().clamp_(max=_BINS - 1)
            self._counts[row] += torch.bincount(bins, minlength=_BINS)
            self._sums[row] += torch.bincount(bins, probabilities[near], minlength=_BINS)

    def expected_dice(self) -> Tensor:
        """The highest that a level gives to each class, (n,)."""
        counts, sums = (table.flip(1).cumsum(1) for table in (self._counts, self._sums))  # from the highest level on
        of_levels = 2 * sums / (counts + self._expected_voxels[:, None]).clamp_min(torch.finfo(torch.double).tiny)
        return of_levels.amax(1)

    def levels(self) -> Tensor:
        """Logits (n,) above which a class is, float32; 0 where it stays at a probability of 0.5."""
        best = torch.logit(self.expected_dice() / 2).clamp_min(_LOWEST)
        return torch.where(self._highest > 0, best, 0.0).float()


def with_dice_levels(blocks: Iterable[Block], num_classes: int) -> Iterator[Block]:
    """A volume's blocks once all are there, whose logits are 0 at the level of their class.

    Until then their values are held, in half precision and main memory.
    """
    found, held = DiceLevels(num_classes), []
    for block in blocks:
        found.add(block)
        most = torch.finfo(torch.half).max
        held.append((replace(block, values=block.values.clamp(-most, most).half().cpu()), block.values.device))
    levels = found.levels()
    for block, device in held:
        whole = block.to(device)
        yield replace(whole, values=whole.values.float(), readout=whole.readout.minus(levels.to(device)))
