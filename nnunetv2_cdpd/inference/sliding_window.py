"""Sliding window: nnU-Net's weighted mean over windows, several windows at a time, windows without any contrast once.

A window in which every channel is constant (air beyond the body, clipped by the CT normalisation) gives the same logits
wherever it lies, so it is run once per volume and value. That changes nothing.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor
from tqdm import tqdm

from nnunetv2_cdpd.errors import UserError

Slicer = tuple[slice | int, ...]
_PLANES = 16  # of a window, about a megabyte


def weighted_mean_over_windows(
    data: Tensor,
    slicers: Sequence[Slicer],
    network: Callable[[Tensor], Tensor],
    *,
    num_outputs: int,
    patch_size: Sequence[int],
    use_gaussian: bool,
    windows_per_batch: int,
    device: torch.device,
    progress: bool,
) -> Tensor:
    """Logits of a volume, as nnU-Net's own loop gives them.

    Args:
        data: (C, X, Y, Z), on the device where the result is held.
        slicers: Of the windows, nnU-Net's.
        network: Windows (B, C, ...) on `device` -> logits (B, n, ...).
        num_outputs: n.

    Returns:
        (n, X, Y, Z), half precision as nnU-Net's.

    Raises:
        UserError: A logit is no finite number. No RuntimeError, which nnU-Net takes for a lack of memory: it would predict again.
    """
    weights = torch.ones((), device=data.device)
    if use_gaussian:
        weights = compute_gaussian(tuple(patch_size), sigma_scale=1.0 / 8, value_scaling_factor=10, device=data.device)
    logits = torch.zeros((num_outputs, *data.shape[1:]), dtype=torch.half, device=data.device)
    total = torch.zeros(data.shape[1:], dtype=torch.half, device=data.device)
    constant: dict[tuple[float, ...], Tensor] = {}
    with tqdm(total=len(slicers), desc="windows", leave=False, disable=not progress) as bar:
        for start in range(0, len(slicers), windows_per_batch):
            batch = slicers[start : start + windows_per_batch]
            values = [_constant_values(data[slicer]) for slicer in batch]
            run = [i for i, value in enumerate(values) if value is None or value not in constant]
            if run:
                outputs = network(torch.stack([data[batch[i]] for i in run]).to(device)).to(data.device)
                found = dict(zip(run, outputs))
                constant |= {value: found[i] for i in run if (value := values[i]) is not None}
            for i, (slicer, value) in enumerate(zip(batch, values)):
                output = found[i] if value is None else constant[value]
                _add(logits[slicer], output, weights)
                total[slicer[1:]] += weights
            bar.update(len(batch))
    torch.div(logits, total, out=logits)
    if not all(torch.isfinite(channel).all() for channel in logits):
        raise UserError(
            "the network gave logits that are no finite numbers (nan or inf); were its weights damaged? Take another checkpoint"
        )
    return logits


def _add(sums: Tensor, output: Tensor, weights: Tensor) -> None:
    """sums (n, ...) += output (n, ...) * weights (...), in pieces of a class that stay in a processor's cache."""
    if sums.is_cuda:
        sums += output * weights
        return
    for sums_of_class, output_of_class in zip(sums, output):
        for piece in zip(*(whole.split(_PLANES) for whole in (sums_of_class, output_of_class, weights.expand_as(sums_of_class)))):
            piece[0].add_(piece[1] * piece[2])


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


def _constant_values(window: Tensor) -> tuple[float, ...] | None:
    """The value of each channel, if all of them are constant."""
    flat = window.flatten(1)
    if not torch.equal(flat[:, 0], flat[:, -1]):  # tells for most, without reading the window
        return None
    lowest, highest = flat.aminmax(dim=1)
    return tuple(lowest.tolist()) if torch.equal(lowest, highest) else None
