"""Sliding window: nnU-Net's weighted mean over windows, block by block, windows without any contrast once.

A window in which every channel is constant (air beyond the body, clipped by the CT normalisation) gives the same values
wherever it lies, so it is run once per volume and value. That changes nothing.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor
from tqdm import tqdm

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.blocks import Block, Box, Readout, WindowSums

Slicer = tuple[slice | int, ...]  # of channels, then of each axis; a number: one slice, for a network of slices
ReportWindows = Callable[[int, int], None]  # hears how many windows are done, of how many of all networks


@dataclass(frozen=True)
class Ensemble:
    """Networks whose logits are averaged.

    run: (network 0 ... n - 1, windows (B, C, ...)) -> values (B, c, ...).
    num_networks: n.
    num_channels: c.
    stacked: Every network's values are kept apart, for a readout of all; else their mean is taken.
    readout: Values -> logits.
    """

    run: Callable[[int, Tensor], Tensor]
    num_networks: int
    num_channels: int
    stacked: bool
    readout: Readout


def blocks_of_logits(
    data: Tensor,
    slicers: Sequence[Slicer],
    ensemble: Ensemble,
    *,
    third_axis: int,
    use_gaussian: bool,
    windows_per_batch: int,
    device: torch.device,
    progress: bool,
    report: ReportWindows | None = None,
) -> Iterator[Block]:
    """Logits of a volume, as nnU-Net's own loop gives them, in single precision (its own sums are of half precision).

    Args:
        data: (C, X, Y, Z), on the device where the sums are held.
        slicers: Of the windows, nnU-Net's.
        third_axis: Along which the windows of a place follow each other.
        device: Of the networks.
        progress: Show a bar.
        report: Called after every window; what it raises ends the prediction.

    Raises:
        UserError: A value is no finite number.
    """
    for part in (ensemble.readout.weight, ensemble.readout.bias):
        if part is not None:
            _check_finite(part)
    outer, inner = (axis for axis in range(3) if axis != third_axis)
    order = (outer, inner, third_axis)
    windows = sorted((_Window.of(slicer) for slicer in slicers), key=lambda window: [window.box[axis][0] for axis in order])
    channels = ensemble.num_channels * (ensemble.num_networks if ensemble.stacked else 1)
    along_outer, along_inner = ([window.box[axis] for window in windows] for axis in (outer, inner))
    sums = WindowSums(channels, data.shape[1:], order, along_outer, along_inner, ensemble.readout, data.device)
    weights = _weights(windows[0], use_gaussian, data.device)
    runner = _Runner(data, ensemble, windows_per_batch, device)
    done, total = 0, len(windows) * ensemble.num_networks
    with tqdm(total=total, desc="windows", leave=False, disable=not progress) as bar:
        for place, group in groupby(windows, key=lambda window: (window.box[outer][0], window.box[inner][0])):
            for network, window, values in runner.values(list(group)):
                sums.add(window.box, values, weights, network * ensemble.num_channels if ensemble.stacked else 0)
                bar.update()
                done += 1
                if report is not None:
                    report(done, total)
            block = sums.finished(place)
            if block is None:
                continue
            _check_finite(block.values)
            yield block


def _check_finite(values: Tensor) -> None:
    if not torch.isfinite(values.sum()):  # many times faster than to ask every value
        raise UserError(
            "the network gave logits that are no finite numbers (nan or inf); were its weights damaged? Take another checkpoint"
        )


@dataclass(frozen=True)
class _Window:
    """slicer: nnU-Net's. box: The same as a range per axis."""

    slicer: Slicer
    box: Box

    @classmethod
    def of(cls, slicer: Slicer) -> "_Window":
        return cls(slicer, tuple((s.start, s.stop) if isinstance(s, slice) else (s, s + 1) for s in slicer[1:]))

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.box)


@dataclass
class _Runner:
    """The values of windows, of every network in turn; those of a constant window once."""

    data: Tensor
    ensemble: Ensemble
    windows_per_batch: int
    device: torch.device

    def __post_init__(self) -> None:
        self.constant: dict[tuple[int, tuple[float, ...]], Tensor] = {}

    def values(self, windows: Sequence[_Window]) -> Iterator[tuple[int, _Window, Tensor]]:
        """Network, window and its values (c, x, y, z)."""
        kinds = _constant_values([self.data[window.slicer] for window in windows])
        for network in range(self.ensemble.num_networks):
            for start in range(0, len(windows), self.windows_per_batch):
                batch = range(start, min(start + self.windows_per_batch, len(windows)))
                run = [i for i in batch if kinds[i] is None or (network, kinds[i]) not in self.constant]
                found: dict[int, Tensor] = {}
                if run:
                    images = torch.stack([self.data[windows[i].slicer] for i in run]).to(self.device)
                    found = dict(zip(run, self.ensemble.run(network, images).to(self.data.device)))
                    self.constant |= {(network, kind): found[i] for i in run if (kind := kinds[i]) is not None}
                for i in batch:
                    kind = kinds[i]
                    values = found[i] if kind is None else self.constant[network, kind]
                    yield network, windows[i], values.reshape(len(values), *windows[i].size)


def _weights(window: _Window, use_gaussian: bool, device: torch.device) -> Tensor:
    """Of the voxels of a window, (x, y, z)."""
    if not use_gaussian:
        return torch.ones(window.size, device=device)
    lengths = tuple(part.stop - part.start for part in window.slicer[1:] if isinstance(part, slice))
    weights = compute_gaussian(lengths, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
    return weights.float().reshape(window.size)


def at_whole_steps(starts: Collection[int], step: int, size: int) -> dict[int, int]:
    """Starts of windows -> the same moved down to whole slice steps.

    The last window reaches the end of the image and stays, as does one that would leave a gap to the next one.
    """
    moved: dict[int, int] = {}
    following = last = max(starts)
    for start in sorted(starts, reverse=True):
        down = start - start % step
        moved[start] = following = start if start == last or down + size < following else down
    return moved


def _constant_values(windows: Sequence[Tensor]) -> list[tuple[float, ...] | None]:
    """The value of each channel of each window (C, ...), if all of them are constant; one read-out from the device for all."""
    bounds = torch.stack([torch.stack(window.flatten(1).aminmax(dim=1)) for window in windows])  # (W, 2, C)
    return [tuple(lowest) if lowest == highest else None for lowest, highest in bounds.tolist()]
