"""Votes: the probabilities of one class in one image by all networks that tell of it, where it is plausible at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

HALF_PROBABLE = 0.5  # where a class begins
Box3D = tuple[slice, ...]


@dataclass(frozen=True)
class Votes:
    """One class in one image.

    probabilities: float16 (n, z, y, x) of n networks, within the box.
    at_most: The same with what may be of the class or not, as a tumor of either kidney; the very same where all is known.
    weights: (n,), add up to 1: each teacher has one voice, however many networks speak for it.
    box: Of the image (Z, Y, X); around all that is plausible to any network, with a margin.
    shape: (Z, Y, X).
    spacing: Voxel size in mm, array order.
    """

    probabilities: np.ndarray
    at_most: np.ndarray
    weights: tuple[float, ...]
    box: Box3D
    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @cached_property
    def mean(self) -> np.ndarray:
        """float32 (z, y, x), within the box."""
        return self._mean(self.probabilities)

    @cached_property
    def mean_at_most(self) -> np.ndarray:
        """The same of `at_most`."""
        return self.mean if self.at_most is self.probabilities else self._mean(self.at_most)

    def _mean(self, volumes: np.ndarray) -> np.ndarray:
        mean = np.zeros(volumes.shape[1:], np.float32)
        for weight, probability in zip(self.weights, volumes):
            mean += np.float32(weight) * probability.astype(np.float32)
        return mean

    @cached_property
    def structure(self) -> np.ndarray:
        """Bool (z, y, x), within the box: where the class is by the mean."""
        return self.mean > HALF_PROBABLE

    @cached_property
    def undecided(self) -> np.ndarray:
        """Bool (z, y, x), within the box: where it is only with what may be of it or not."""
        return ~self.structure & (self.mean_at_most > HALF_PROBABLE)

    @cached_property
    def structures(self) -> np.ndarray:
        """Bool (n, z, y, x), within the box: where it is by each network."""
        return self.probabilities > HALF_PROBABLE


def votes_of(
    volumes: Iterable[np.ndarray],
    weights: Sequence[float],
    spacing: Sequence[float],
    plausible: float,
    margin_mm: float,
    at_most: Iterable[np.ndarray] | None = None,
) -> Votes:
    """Cut the probabilities of a class down to where it is plausible.

    Args:
        volumes: (Z, Y, X) of each network, in any floating type; looked at one after the other.
        weights: Of each.
        spacing: Voxel size in mm, array order.
        plausible: Least probability that counts.
        margin_mm: Around it, in the box.
        at_most: Of each with what may be of the class or not; None: all is known.
    """
    halves = [np.asarray(volume, np.float16) for volume in volumes]
    most = halves if at_most is None else [np.asarray(volume, np.float16) for volume in at_most]
    shape = halves[0].shape
    found = [_bounds([half >= plausible for half in most], axis) for axis in range(3)]
    box = tuple(
        slice(0, 0) if ends is None else _wider(ends, int(np.ceil(margin_mm / mm)), length)
        for ends, mm, length in zip(found, spacing, shape)
    )
    total = float(sum(weights))
    probabilities = np.stack([half[box] for half in halves])
    cut = probabilities if at_most is None else np.stack([half[box] for half in most])
    return Votes(probabilities, cut, tuple(w / total for w in weights), box, shape, tuple(map(float, spacing)))


def _bounds(masks: Sequence[np.ndarray], axis: int) -> tuple[int, int] | None:
    """First and last plane along an axis in which any mask holds something."""
    others = tuple(other for other in range(3) if other != axis)
    planes = np.flatnonzero(np.any([mask.any(others) for mask in masks], 0))
    return (int(planes[0]), int(planes[-1])) if len(planes) else None


def _wider(ends: tuple[int, int], margin: int, length: int) -> slice:
    return slice(max(0, ends[0] - margin), min(length, ends[1] + 1 + margin))
