"""Windows: nnU-Net's weighted mean of a network's logits over windows, handed out layer by layer.

Windows are run in the order of one axis. Planes that no further window touches are finished and handed out, so that what is held
is a layer as thick as a window: (n + 1) * 4 bytes for each of its voxels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from nnunetv2_cdpd.volumes.axes import in_all_channels

_SIGMA = 1 / 8  # nnU-Net's, of a window's length
_TRUNCATED = 4  # sigmas, scipy's
_SCALE = 10  # nnU-Net's highest weight

Network = Callable[[np.ndarray], np.ndarray]  # windows (B, C, ...) -> logits (B, n, ...)


@dataclass(frozen=True)
class Layer:
    """Logits of some planes that are final.

    axis: Across the planes.
    start: The first of them, among those of the volume.
    logits: (n, planes, ...), the other axes in their order.
    """

    axis: int
    start: int
    logits: np.ndarray


@dataclass(frozen=True)
class WindowSettings:
    """patch_size: Voxels of a window; two numbers for a network of slices. step_size: As a share of it. batch: At a time.
    mirror_axes: Axes of a window whose mirrored images are averaged, all combinations.
    """

    patch_size: tuple[int, ...]
    step_size: float
    batch: int
    mirror_axes: tuple[int, ...]


def layers_of_logits(
    data: np.ndarray, network: Network, settings: WindowSettings, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Layer]:
    """Run a network over (C, x, y, z); a window in which every channel is constant is run once per value.

    Args:
        progress: Hears how many windows of how many are done.
    """
    size = (1,) * (3 - len(settings.patch_size)) + settings.patch_size
    shape = data.shape[1:]
    missing = [max(0, length - there) for length, there in zip(size, shape)]
    before = [amount // 2 for amount in missing]
    padding = [(low, amount - low) for low, amount in zip(before, missing)]
    data = np.pad(data, [(0, 0), *padding])
    starts = [window_starts(length, part, settings.step_size) for length, part in zip(data.shape[1:], size)]
    # The axis along which a layer holds least; 2D windows are thin along the first one.
    axis = min(range(3), key=lambda axis: size[axis] / data.shape[1 + axis])
    others = [other for other in range(3) if other != axis]
    weights = _axis_first(_weights(settings.patch_size).reshape(1, *size), axis)[0]
    runner = _Runner(network, settings, size)
    sums = held = None
    done, total = 0, int(np.prod([len(part) for part in starts]))
    for start, following in zip(starts[axis], [*starts[axis][1:], data.shape[1 + axis]]):
        places = list(product(*(starts[other] for other in others)))
        for i in range(0, len(places), settings.batch):
            batch = places[i : i + settings.batch]
            windows = []
            for place in batch:
                corner = dict(zip((axis, *others), (start, *place)))
                windows.append(data[in_all_channels([slice(corner[a], corner[a] + size[a]) for a in range(3)])])
            for place, logits in zip(batch, runner.run(windows)):
                if sums is None or held is None:
                    layer = (size[axis], *(data.shape[1 + other] for other in others))
                    sums, held = np.zeros((len(logits), *layer), np.float32), np.zeros(layer, np.float32)
                part = (slice(None), *(slice(low, low + size[other]) for low, other in zip(place, others)))
                sums[in_all_channels(part)] += _axis_first(logits, axis) * weights
                held[part] += weights
            done += len(batch)
            progress(done, total)
        assert sums is not None and held is not None, "every layer has a window"
        planes = following - start
        inside = [slice(before[other], before[other] + shape[other]) for other in others]
        low, high = (min(max(border - before[axis], 0), shape[axis]) for border in (start, following))
        if low < high:
            own = (slice(low + before[axis] - start, high + before[axis] - start), *inside)
            yield Layer(axis, low, sums[in_all_channels(own)] / held[own])
        for values in (sums.swapaxes(0, 1), held):
            values[: len(values) - planes] = values[planes:].copy()
            values[len(values) - planes :] = 0


class _Runner:
    """Logits (n, x, y, z) of windows (C, x, y, z), the mean over mirrored images; those of constant windows once."""

    def __init__(self, network: Network, settings: WindowSettings, size: Sequence[int]) -> None:
        self.network = network
        self.settings = settings
        self.size = tuple(size)
        axes = settings.mirror_axes
        self.flips = [tuple(2 + a for a in some) for count in range(len(axes) + 1) for some in combinations(axes, count)]
        self.constant: dict[tuple[float, ...], np.ndarray] = {}

    def run(self, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
        kinds = [_constant_value(window) for window in windows]
        new = [i for i, kind in enumerate(kinds) if kind is None or kind not in self.constant]
        found: dict[int, np.ndarray] = {}
        if new:
            batch = np.stack([windows[i].reshape(-1, *self.settings.patch_size) for i in new])
            found = dict(zip(new, self._mean(batch)))
            self.constant |= {kind: found[i] for i in new if (kind := kinds[i]) is not None}
        values = [found[i] if kind is None or i in found else self.constant[kind] for i, kind in enumerate(kinds)]
        return [value.reshape(len(value), *self.size) for value in values]

    def _mean(self, batch: np.ndarray) -> np.ndarray:
        total = None
        for axes in self.flips:
            logits = np.flip(self.network(np.ascontiguousarray(np.flip(batch, axes))), axes)
            total = logits if total is None else total + logits
        assert total is not None, "the image itself is one of them"
        return total / len(self.flips)


def window_starts(length: int, size: int, step_size: float) -> list[int]:
    """Where windows of a size start along an axis, spread evenly; as nnU-Net's `compute_steps_for_sliding_window`."""
    count = int(np.ceil((length - size) / (size * step_size))) + 1
    step = (length - size) / max(1, count - 1)
    return [int(np.round(step * i)) for i in range(count)]


def _weights(patch_size: Sequence[int]) -> np.ndarray:
    """Of the voxels of a window: nnU-Net's `compute_gaussian`, with its rounding to half precision."""
    weights = np.ones(())
    for size in patch_size:
        sigma = size * _SIGMA
        offset = np.arange(size) - size // 2
        profile = np.exp(-0.5 / sigma**2 * offset.astype(float) ** 2)
        profile[np.abs(offset) > int(_TRUNCATED * sigma + 0.5)] = 0
        weights = np.multiply.outer(weights, profile)
    halves = (weights / (weights.max() / _SCALE)).astype(np.float32).astype(np.float16)  # by way of single precision, as torch
    halves[halves == 0] = halves[halves > 0].min()
    return halves.astype(np.float32)


def _axis_first(values: np.ndarray, axis: int) -> np.ndarray:
    """(n, x, y, z) -> n, an axis, the others in their order."""
    return np.moveaxis(values, 1 + axis, 1)


def _constant_value(window: np.ndarray) -> tuple[float, ...] | None:
    """The value of each channel of a window, if all of them are constant."""
    flat = window.reshape(len(window), -1)
    first = flat[:, :1]
    return tuple(first[:, 0].tolist()) if (flat == first).all() else None
