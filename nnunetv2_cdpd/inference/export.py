"""Lean export: logits at the network's spacing -> label map or probabilities on the grid of the image, tile by tile.

nnU-Net resamples the logits of every class to the full image before it looks at any of them. Here a tile of the image is
made at a time, and only from classes that can be above 0.5 in it: an interpolated value lies between the values that it is
made from, so a class without a positive logit around a tile is nowhere in it, and a tile in which one class alone is
positive everywhere is that class. Both are exact.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor

from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.resampling import LINEAR, AxisResampling, Range, axis_resamplings, interpolation_kinds, resampled

TILE = 12  # voxels of the logits along each axis; larger tiles are less often empty, smaller ones cost more calls


@dataclass(frozen=True)
class Geometry:
    """Where logits belong in the image.

    axes: Resampling of each axis, in the network's order of axes.
    crop: The part of the image that the network saw, in that order; outside is background.
    full_shape: Of the image, in that order.
    transpose_backward: Permutation from the network's order of axes to the image's.
    """

    axes: tuple[AxisResampling, ...]
    crop: tuple[slice, ...]
    full_shape: tuple[int, ...]
    transpose_backward: tuple[int, ...]

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.full_shape[axis] for axis in self.transpose_backward)


def place_logits(
    logits: Tensor, plans: PlansManager, configuration: ConfigurationManager, properties: Mapping[str, Any]
) -> tuple[Tensor, Geometry]:
    """Find where logits belong in the image, as nnU-Net's export does.

    Args:
        logits: (K, x, y, z) as the network's sliding window returns them.
        properties: Of the case, from nnU-Net's preprocessor.

    Returns:
        The logits, resampled here only if the plans name another resampling than linear (all classes at once, as nnU-Net
        does); and their geometry.
    """
    shape = [int(length) for length in properties["shape_after_cropping_and_before_resampling"]]
    new_spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    spacing = configuration.spacing
    current_spacing = spacing if len(spacing) == len(shape) else [new_spacing[0], *spacing]
    resample = configuration.resampling_fn_probabilities
    kinds = interpolation_kinds(resample, current_spacing, new_spacing)
    if kinds is None:
        logits = torch.as_tensor(resample(logits, shape, current_spacing, new_spacing))
        kinds = (LINEAR,) * 3
    return logits, Geometry(
        axis_resamplings(kinds, logits.shape[1:], shape),
        tuple(slice(int(start), int(stop)) for start, stop in properties["bbox_used_for_cropping"]),
        tuple(int(length) for length in properties["shape_before_cropping"]),
        tuple(plans.transpose_backward),
    )


def label_map(
    logits: Tensor,
    classes: Sequence[int],
    geometry: Geometry,
    tree: ClassTree,
    wanted: Collection[int] | None = None,
) -> np.ndarray:
    """The label map of an image.

    Args:
        logits: (n, x, y, z), on the CPU, of any floating type.
        classes: The n classes that they belong to, ascending; all that decide about the wanted ones (`needed_for`).
        wanted: Classes to write; None: all of the tree.

    Returns:
        (Z, Y, X), or what the order of the image's axes is: stored values, uint8 where they fit, else uint16.
    """
    wanted = frozenset(tree.classes if wanted is None else wanted)
    values = tree.stored_values(wanted)
    full = np.zeros(geometry.full_shape, np.uint8 if values.max() < 255 else np.uint16)
    cropped = full[geometry.crop]
    values = values.astype(full.dtype)
    tiles = [axis.tiles(TILE) for axis in geometry.axes]
    matrices = [{tile: axis.matrix(tile) for tile in along} for axis, along in zip(geometry.axes, tiles)]

    def do_slab(tile_x: Range) -> None:
        slab = logits[:, slice(*geometry.axes[0].inputs_of(tile_x))]
        highest, lowest = _bounds(slab, geometry.axes[1:], tiles[1:])
        for i, tile_y in enumerate(tiles[1]):
            for j, tile_z in enumerate(tiles[2]):
                rows = np.flatnonzero(highest[:, i, j] > 0).tolist()
                if not rows:
                    continue
                winners = tree.possible_winners([classes[row] for row in rows])
                if wanted.isdisjoint(winners):
                    continue
                rows = [row for row in rows if classes[row] in winners]
                target = cropped[slice(*tile_x), slice(*tile_y), slice(*tile_z)]
                if len(rows) == 1 and lowest[rows[0], i, j] > 0:
                    target[...] = values[classes[rows[0]] + 1]
                    continue
                part = slab[:, :, slice(*geometry.axes[1].inputs_of(tile_y)), slice(*geometry.axes[2].inputs_of(tile_z))]
                part = part.index_select(0, torch.tensor(rows)).float()  # faster than indexing with a list
                box = resampled(part, (matrices[0][tile_x], matrices[1][tile_y], matrices[2][tile_z]))
                target[...] = values[tree.winners(box.numpy(), winners)]

    _in_threads(do_slab, tiles[0])
    return full.transpose(geometry.transpose_backward)


def probability_slabs(logits: Tensor, geometry: Geometry, slices: int = 16) -> Iterator[np.ndarray]:
    """Probabilities of one class on the grid of the image, a few slices at a time; 0 outside of the crop, as nnU-Net.

    Args:
        logits: (x, y, z).
        slices: Along the first axis of the image.

    Yields:
        float32 (at most `slices`, Y, X), first to last.
    """
    first = geometry.transpose_backward[0]  # the network's axis along which the image's slices lie
    crop = geometry.crop[first]
    for start in range(0, geometry.image_shape[0], slices):
        stop = min(start + slices, geometry.image_shape[0])
        shape = list(geometry.full_shape)
        shape[first] = stop - start
        slab = np.zeros(shape, np.float32)
        inside = (max(start, crop.start), min(stop, crop.stop))
        if inside[0] < inside[1]:
            ranges = [(0, axis.num_outputs) for axis in geometry.axes]
            ranges[first] = (inside[0] - crop.start, inside[1] - crop.start)
            inputs = tuple(slice(*axis.inputs_of(outputs)) for axis, outputs in zip(geometry.axes, ranges))
            target = list(geometry.crop)
            target[first] = slice(inside[0] - start, inside[1] - start)
            matrices = [axis.matrix(outputs) for axis, outputs in zip(geometry.axes, ranges)]
            slab[tuple(target)] = torch.sigmoid(resampled(logits[inputs][None].float(), matrices)[0]).numpy()
        yield slab.transpose(geometry.transpose_backward)


def _bounds(slab: Tensor, axes: Sequence[AxisResampling], tiles: Sequence[Sequence[Range]]) -> tuple[np.ndarray, np.ndarray]:
    """Highest and lowest logit of each class around each tile: (n, x, y, z) -> two (n, tiles along y, tiles along z)."""
    # Positive floats are ordered as the integers of their bits are and negative ones are negative integers too, which is all
    # that is asked of bounds here; comparing halves as such is many times slower.
    bits = slab.view({2: torch.int16, 4: torch.int32}[slab.element_size()]) if slab.element_size() < 8 else slab
    found = []
    for reduce in (torch.amax, torch.amin):
        bound = reduce(bits, 1)
        for dim, axis, along in zip((1, 2), axes, tiles):
            parts = [bound.narrow(dim, first, last - first) for first, last in map(axis.inputs_of, along)]
            bound = torch.stack([reduce(part, dim) for part in parts], dim)
        found.append(bound.numpy())
    return found[0], found[1]


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
