"""WindowSums: weighted sums over windows, handed out block by block as soon as no further window touches them.

Windows come place by place, a place being where they lie along two axes; along the third one, all windows of a place come
together. So a volume is finished column by column, and what is held follows a layer of windows, not the volume.

                outer axis                     sums    a cell for each piece between borders of windows, from its first window on
          ┌──────┬──────┬──────┐               block   a region between starts of windows, when its last place has been added:
    inner │ done │ done │ sums │                       the mean over windows, with the voxel before it of the neighbours that
     axis ├──────┼──────┼──────┤                       are done, so that interpolation between blocks has both its voxels
          │ done │ sums │      │
          └──────┴──────┴──────┘               (along the third axis a block is as long as the volume)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from nnunetv2_cdpd.volumes.axes import Range, in_all_channels

Place = tuple[int, int]  # where windows start along the outer and the inner axis
Box = tuple[Range, ...]  # a range per axis of the volume
_THICKNESS = 12  # voxels of a block along an axis at least: slices of a 2D network are gathered
_PLANES = 16  # of a window that are added at a time: they stay in a processor's cache


@dataclass(frozen=True)
class Readout:
    """What makes logits (K, ...) of the values (c, ...) that windows were summed up of; None: they are the logits.

    A network's last layer is linear and treats every voxel alone, so it may come after the mean over windows, mirrored images
    and folds: exactly the same, of fewer channels than there are classes.

    weight: (K, f), of the channels that are features; None: the values are logits.
    bias: (K,), with a weight always.
    beside: Channels that are logits already, beside those features.
    levels: Of all logits, which they are told less of; None: 0.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    beside: "Beside | None" = None
    levels: Tensor | None = None

    def to(self, device: torch.device) -> "Readout":
        weight, bias, levels = (None if part is None else part.to(device) for part in (self.weight, self.bias, self.levels))
        return Readout(weight, bias, self.beside, levels)

    def minus(self, levels: Tensor) -> "Readout":
        """Makes logits less their levels."""
        return replace(self, levels=levels if self.levels is None else self.levels + levels)

    def __call__(self, values: Tensor) -> Tensor:
        logits = self._logits(values)
        return logits if self.levels is None else logits - self.levels.view(-1, 1, 1, 1)

    def _logits(self, values: Tensor) -> Tensor:
        if self.weight is None or self.bias is None:
            return values
        features = values if self.beside is None else values[list(self.beside.features)]
        logits = torch.addmm(self.bias[:, None], self.weight, features.flatten(1)).view(-1, *values.shape[1:])
        return logits if self.beside is None else self.beside.joined(logits, values)


@dataclass(frozen=True)
class Beside:
    """Logits of some classes beside the features of others; numbers are of channels of the values, unless said.

    features: All features.
    logits: Of each network, of each class.
    places: Where the classes go among all logits, ascending.
    """

    features: tuple[int, ...]
    logits: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]

    def joined(self, logits: Tensor, values: Tensor) -> Tensor:
        """Logits (K, ...) of the other classes and those in the values, whose sum over networks is their mean."""
        mine = sum(values[list(channels)] for channels in self.logits)
        joined = logits.new_empty(len(logits) + len(self.places), *logits.shape[1:])
        others = [place for place in range(len(joined)) if place not in self.places]
        joined[others], joined[list(self.places)] = logits, mine
        return joined


@dataclass(frozen=True)
class Block:
    """A part of a volume's logits that is final.

    own: Its voxels, which no other block has.
    start: Of `values` in the volume: that of `own`, or one voxel less where a neighbour lies before it.
    values: (c, x, y, z) up to the end of `own`.
    """

    own: Box
    start: tuple[int, ...]
    values: Tensor
    readout: Readout

    @classmethod
    def whole(cls, logits: Tensor) -> "Block":
        """Logits (K, x, y, z) of a volume as its only block."""
        return cls(tuple((0, length) for length in logits.shape[1:]), (0, 0, 0), logits, Readout())

    def inside(self, box: Sequence[slice]) -> "Block | None":
        """What of it lies in a box, whose first voxel is then the first of the volume; None: nothing."""
        own = tuple((max(start, part.start), min(stop, part.stop)) for (start, stop), part in zip(self.own, box))
        if any(start >= stop for start, stop in own):
            return None
        first = tuple(max(start, part.start) for start, part in zip(self.start, box))
        cut = [slice(low - start, stop - start) for low, start, (_, stop) in zip(first, self.start, own)]
        return replace(
            self,
            own=tuple((start - part.start, stop - part.start) for (start, stop), part in zip(own, box)),
            start=tuple(low - part.start for low, part in zip(first, box)),
            values=self.values[in_all_channels(cut)],
        )

    def to(self, device: torch.device) -> "Block":
        return replace(self, values=self.values.to(device), readout=self.readout.to(device))

    def own_logits(self) -> Tensor:
        """(K, x, y, z) of its own voxels."""
        cut = [slice(begin - start, stop - start) for (begin, stop), start in zip(self.own, self.start)]
        return self.readout(self.values[in_all_channels(cut)])

    def write_to(self, logits: Tensor) -> None:
        """Write its own voxels into the logits (K, x, y, z) of the volume; what their type cannot hold as the most it can."""
        target = logits[in_all_channels([slice(*part) for part in self.own])]
        most = torch.finfo(logits.dtype).max
        target.copy_(self.own_logits().clamp(-most, most))


def not_seen(blocks: Iterable[Block], seen: set[Box]) -> Iterator[Block]:
    """Blocks whose own voxels none had before, which are added to those that were seen."""
    for block in blocks:
        if block.own not in seen:
            seen.add(block.own)
            yield block


def written_to(logits: Tensor, blocks: Iterable[Block]) -> Iterator[Block]:
    """Blocks, each of which is written into the logits (K, x, y, z) of the volume as it passes."""
    for block in blocks:
        block.write_to(logits)
        yield block


class WindowSums:
    """Sums of a volume's windows.

    Args:
        num_channels: c.
        shape: (X, Y, Z) of the volume.
        order: The outer, the inner and the third axis.
        outer: Ranges of the windows along the outer axis.
        inner: Along the inner axis.
        readout: Given on with the blocks.
        device: Where the sums are held.
    """

    def __init__(
        self,
        num_channels: int,
        shape: Sequence[int],
        order: tuple[int, int, int],
        outer: Sequence[Range],
        inner: Sequence[Range],
        readout: Readout,
        device: torch.device,
    ) -> None:
        self.num_channels = num_channels
        self.shape = tuple(shape)
        self.order = order
        self.readout = readout
        self.device = device
        self.borders = [_borders(outer, shape[order[0]]), _borders(inner, shape[order[1]])]
        self.regions = [_regions(outer, shape[order[0]]), _regions(inner, shape[order[1]])]
        self.cells: dict[tuple[int, int], Tensor] = {}  # (c + 1, ...), the last channel for the weights
        self.before_outer: dict[Range, Tensor] = {}  # last plane of the blocks before, by their range along the inner axis
        self.before_inner = torch.empty(0)  # last plane of the block before along the inner axis

    def add(self, window: Box, values: Tensor, weights: Tensor, first_channel: int) -> None:
        """Add a window's values (n, x, y, z) times weights (x, y, z) to n channels, from the first one on."""
        channels = slice(first_channel, first_channel + len(values))
        third = self.order[2]
        for i in self._pieces(0, window):
            for j in self._pieces(1, window):
                piece = self._box(self.borders[0][i], self.borders[1][j], window[third])
                of_window = [slice(start - low, stop - low) for (start, stop), (low, _) in zip(piece, window)]
                sums = self._cell(i, j).narrow(1 + third, piece[third][0], piece[third][1] - piece[third][0])
                weights_here = weights[tuple(of_window)]
                _add(sums[channels], values[in_all_channels(of_window)], weights_here)
                sums[-1] += weights_here

    def finished(self, place: Place) -> Block | None:
        """The block that is complete now that all windows of a place have been added, if one is."""
        region = tuple(regions.get(start) for regions, start in zip(self.regions, place))
        outer, inner = region
        if outer is None or inner is None:
            return None
        own = self._box(outer, inner, (0, self.shape[self.order[2]]))
        before = self._box((int(outer[0] > 0), 0), (int(inner[0] > 0), 0), (0, 0))  # voxels of the neighbours
        start = tuple(first - number for (first, _), (number, _) in zip(own, before))
        size = [stop - first for first, (_, stop) in zip(start, own)]
        values = torch.empty((self.num_channels, *size), device=self.device)
        for i in self._between(0, outer):
            for j in self._between(1, inner):
                cell = self.cells.pop((i, j))
                piece = self._box(self.borders[0][i], self.borders[1][j], own[self.order[2]])
                target = [slice(a - first, b - first) for (a, b), first in zip(piece, start)]
                torch.div(cell[:-1], cell[-1], out=values[in_all_channels(target)])
        along_outer, along_inner = 1 + self.order[0], 1 + self.order[1]
        if inner[0] > 0:
            values.narrow(along_inner, 0, 1).copy_(self.before_inner)
        without_inner = values.narrow(along_inner, int(inner[0] > 0), inner[1] - inner[0])
        if outer[0] > 0:
            without_inner.narrow(along_outer, 0, 1).copy_(self.before_outer[inner])
        self.before_outer[inner] = _last_plane(without_inner, along_outer)
        self.before_inner = _last_plane(values, along_inner)
        return Block(own, start, values, self.readout)

    def _box(self, outer: Range, inner: Range, third: Range) -> Box:
        by_axis = dict(zip(self.order, (outer, inner, third)))
        return tuple(by_axis[axis] for axis in range(3))

    def _pieces(self, which: int, window: Box) -> list[int]:
        """Cells that a window consists of, along the outer (0) or the inner (1) axis."""
        return self._between(which, window[self.order[which]])

    def _between(self, which: int, limits: Range) -> list[int]:
        borders = self.borders[which]
        return [i for i, (start, stop) in enumerate(borders) if limits[0] <= start and stop <= limits[1]]

    def _cell(self, i: int, j: int) -> Tensor:
        if (i, j) not in self.cells:
            box = self._box(self.borders[0][i], self.borders[1][j], (0, self.shape[self.order[2]]))
            size = (self.num_channels + 1, *(stop - start for start, stop in box))
            self.cells[i, j] = torch.zeros(size, device=self.device)
        return self.cells[i, j]


def _borders(windows: Sequence[Range], length: int) -> list[Range]:
    """Pieces of an axis that no window has a part of: each lies wholly in a window or wholly outside."""
    return list(pairwise(sorted({0, length, *(border for window in windows for border in window)})))


def _regions(windows: Sequence[Range], length: int) -> dict[int, Range]:
    """Last start of a window that touches a region -> the region, between starts of windows."""
    starts = sorted({start for start, _ in windows})
    edges = [0]
    for start in starts:
        if start - edges[-1] >= _THICKNESS:
            edges.append(start)
    return {max(s for s in starts if s < stop): (start, stop) for start, stop in pairwise([*edges, length])}


def _last_plane(values: Tensor, axis: int) -> Tensor:
    return values.narrow(axis, values.shape[axis] - 1, 1).clone()


def _add(sums: Tensor, values: Tensor, weights: Tensor) -> None:
    """sums (n, ...) += values (n, ...) * weights (...), on a CPU in pieces of a channel that stay in its cache."""
    if sums.device.type != "cpu":
        sums.addcmul_(values.to(sums.dtype), weights)
        return
    for sums_of_channel, values_of_channel in zip(sums, values):
        parts = (sums_of_channel, values_of_channel.to(sums.dtype), weights)
        for piece in zip(*(whole.split(_PLANES) for whole in parts)):
            piece[0].addcmul_(piece[1], piece[2])
