"""LabelMap: logits at the network's spacing -> label map on the grid of the image, tile by tile.

A tile of the image is made at a time, and only from classes that can be above 0.5 in it: an interpolated value lies between
the values that it is made from, so a class without a positive logit around a tile is nowhere in it, and a tile in which one
class alone is positive everywhere is that class. Both are exact.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from nnunetv2_cdpd.inference.blocks import Block, Readout
from nnunetv2_cdpd.inference.export import Geometry
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.resampling import axis_matrix, resampled
from nnunetv2_cdpd.volumes.axes import AxisResampling, Range

# Voxels of the image along each axis of a tile: smaller tiles are more often empty and stay in a processor's cache, larger
# ones cost fewer calls, which is what counts on a GPU.
TILE, DEVICE_TILE = 20, 80
_ENOUGH_SLABS = 8  # for threads


class LabelMap:
    """The label map of an image, made of the blocks of its logits in any order.

    Args:
        classes: The n classes that the logits belong to, ascending; all that decide about the wanted ones (`needed_for`).
        wanted: Classes to write; None: all of the tree.
    """

    def __init__(
        self, classes: Sequence[int], geometry: Geometry, tree: ClassTree, wanted: Collection[int] | None = None
    ) -> None:
        self.classes = tuple(classes)
        self.geometry = geometry
        self.tree = tree
        self.wanted = frozenset(tree.classes if wanted is None else wanted)
        self.values = tree.stored_values(self.wanted)
        self._full = np.zeros(geometry.full_shape, np.uint8 if self.values.max() < 255 else np.uint16)

    @property
    def array(self) -> np.ndarray:
        """(Z, Y, X), or what the order of the image's axes is: stored values, uint8 where they fit, else uint16."""
        return self._full.transpose(self.geometry.transpose_backward)

    def add(self, block: Block) -> None:
        """Label the voxels of the image of whose logits the last ones are the block's; on the device of the block."""
        outputs = [axis.outputs_of(own) for axis, own in zip(self.geometry.axes, block.own)]
        if any(start >= stop for start, stop in outputs):
            return
        voxels = TILE if block.values.device.type == "cpu" else DEVICE_TILE
        tiles = [axis.tiles(voxels, part) for axis, part in zip(self.geometry.axes, outputs)]
        first = max(range(3), key=lambda axis: min(len(tiles[axis]), _ENOUGH_SLABS))
        order = (first, *(axis for axis in range(3) if axis != first))
        slabs = _Slabs(
            self,
            [self.geometry.axes[axis] for axis in order],
            [tiles[axis] for axis in order],
            [block.start[axis] for axis in order],
            block.values.permute(0, *(1 + axis for axis in order)),
            block.readout,
            self._full[self.geometry.crop].transpose(order),
        )
        if block.values.device.type == "cpu":
            _in_threads(slabs.label, slabs.tiles[0])
            return
        try:
            for tile_x in slabs.tiles[0]:
                slabs.label(tile_x)
        except torch.cuda.OutOfMemoryError:  # beside the sums of other blocks
            self.add(block.to(torch.device("cpu")))


@dataclass
class _Slabs:
    """A block, of which a slab of tiles along its first axis is labelled at a time; axes in the order that suits that.

    start: Of `values` in the volume of logits.
    target: The image's part that the network saw.
    """

    label_map: LabelMap
    axes: list[AxisResampling]
    tiles: list[list[Range]]
    start: list[int]
    values: Tensor
    readout: Readout
    target: np.ndarray

    def __post_init__(self) -> None:
        device = self.values.device
        self.stored = torch.from_numpy(self.label_map.values.astype(np.int32)).to(device)
        self.matrices = [
            {tile: axis_matrix(axis, tile, device=device) for tile in tiles} for axis, tiles in zip(self.axes, self.tiles)
        ]

    def inputs(self, axis: int, tile: Range) -> slice:
        """Of `values`, along an axis."""
        first, stop = self.axes[axis].inputs_of(tile)
        return slice(first - self.start[axis], stop - self.start[axis])

    def label(self, tile_x: Range) -> None:
        tree, classes, wanted = self.label_map.tree, self.label_map.classes, self.label_map.wanted
        slab = self.readout(self.values[:, self.inputs(0, tile_x)])
        highest, lowest = self._bounds(slab)
        for i, tile_y in enumerate(self.tiles[1]):
            for j, tile_z in enumerate(self.tiles[2]):
                rows = np.flatnonzero(highest[:, i, j] > 0).tolist()
                if not rows:
                    continue
                winners = tree.possible_winners([classes[row] for row in rows])
                if wanted.isdisjoint(winners):
                    continue
                rows = [row for row in rows if classes[row] in winners]
                target = self.target[slice(*tile_x), slice(*tile_y), slice(*tile_z)]
                if len(rows) == 1 and lowest[rows[0], i, j] > 0:
                    target[...] = self.label_map.values[classes[rows[0]] + 1]
                    continue
                part = slab[:, :, self.inputs(1, tile_y), self.inputs(2, tile_z)]
                part = part.index_select(0, torch.tensor(rows, device=slab.device)).float()  # faster than indexing with a list
                box = resampled(part, (self.matrices[0][tile_x], self.matrices[1][tile_y], self.matrices[2][tile_z]))
                labels = self.stored.index_select(0, tree.winners(box, winners).flatten())
                target[...] = labels.view(box.shape[1:]).cpu().numpy()

    def _bounds(self, slab: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Highest and lowest logit of each class around each tile: (n, x, y, z) -> two (n, tiles along y, tiles along z)."""
        # Positive floats are ordered as the integers of their bits are and negative ones are negative integers too, which is
        # all that is asked of bounds here; comparing halves as such is many times slower.
        bits = slab.view({2: torch.int16, 4: torch.int32}[slab.element_size()]) if slab.element_size() < 8 else slab
        found = []
        for reduce in (torch.amax, torch.amin):
            bound = reduce(bits, 1)
            for axis in (1, 2):
                parts = [bound.movedim(axis, 0)[self.inputs(axis, tile)].movedim(0, axis) for tile in self.tiles[axis]]
                bound = torch.stack([reduce(part, axis) for part in parts], axis)
            found.append(bound)
        highest, lowest = torch.stack(found).cpu().numpy()
        return highest, lowest


def label_map(
    logits: Tensor, classes: Sequence[int], geometry: Geometry, tree: ClassTree, wanted: Collection[int] | None = None
) -> np.ndarray:
    """The label map of an image whose logits (n, x, y, z), of any floating type, are at hand as a whole; see `LabelMap`."""
    made = LabelMap(classes, geometry, tree, wanted)
    made.add(Block.whole(logits))
    return made.array


_at_work: list[int] = []  # threads that torch has for each call of `_in_threads` that is at work
_at_work_lock = Lock()


def _in_threads(function: Callable[[Range], None], jobs: Iterable[Range]) -> None:
    """Run jobs in as many threads as torch has, each of which it uses alone: its operations here are too small to share."""
    # A thread that is new to torch gets the number that was set last, in whichever thread: a second exporter may begin while
    # the first one's threads have set theirs to 1.
    with _at_work_lock:
        count = _at_work[0] if _at_work else torch.get_num_threads()
        _at_work.append(count)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(function, jobs))
    finally:
        with _at_work_lock:
            _at_work.remove(count)
            torch.set_num_threads(count)
