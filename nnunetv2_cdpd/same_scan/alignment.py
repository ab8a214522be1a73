"""Alignment: two fingerprints laid on each other in 3D, and how well they then agree.

Of the same scan, what tells one body from another agrees voxel by voxel; of two patients, however alike, it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from scipy.ndimage import shift as shifted

from nnunetv2_cdpd.same_scan.descriptors import Candidate, anatomy
from nnunetv2_cdpd.same_scan.fingerprint import BODY

FINE_BAND = (0.5, 1.2)  # steps; finer than that of the descriptors: patients look less alike the closer one looks
SEARCH = (1, 2, 2)  # steps around the place that the candidate names, along z, y, x; from there on it climbs
MAX_MOVES = 20
MIN_VOXELS = 400  # of body in common: 86 ml
CHANCE = 5.0  # the correlation that chance alone reaches, among many patients and places, falls with the root of the voxels

Shift = tuple[int, int, int]  # steps along z, y, x


@dataclass(frozen=True)
class Body:
    """A fingerprint's volume made ready to be compared: float32 `shown`, bool `mask`, both (Z, Y, X)."""

    shown: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, volume: np.ndarray) -> "Body":
        return cls(anatomy(volume, FINE_BAND), volume > BODY)

    def flipped(self, flips: Sequence[int]) -> "Body":
        turn = tuple(slice(None, None, sign) for sign in flips)
        return Body(self.shown[turn], self.mask[turn])


@dataclass(frozen=True)
class Pair:
    """Two images laid on each other, by their index, and how well they then agree.

    score: Correlation of the anatomy in the body in common, less what chance reaches in one of that size; below 1.
    shared: Share of the smaller body that is in common.
    flips: Of the first image along z, y, x to lie like the second one: 1 or -1.
    shift: Where voxel 0 of the flipped first fingerprint lies on the second one.
    """

    first: int
    second: int
    score: float
    shared: float
    flips: tuple[int, int, int]
    shift: Shift

    @property
    def mirrored(self) -> str:
        """Along which axes of the body one is mirrored against the other, in words; empty if along none."""
        names = ("feet and head", "front and back", "left and right")
        return ", ".join(name for name, flip in zip(names, self.flips) if flip < 0)


def agreement(first: Body, second: Body, candidate: Candidate) -> Pair:
    """Lay the first body, flipped, on the second one, near where the candidate says."""
    moved = first.flipped(candidate.flips)
    place = _start(moved, second, candidate.offset)

    @cache
    def value(at: Shift) -> float:
        return _correlation(moved, second, at)[0]

    around = product(*(range(-steps, steps + 1) for steps in SEARCH))
    place = max((_moved(place, step) for step in around), key=value)
    near = list(product((-1, 0, 1), repeat=3))
    for _ in range(MAX_MOVES):
        best = max((_moved(place, step) for step in near), key=value)
        if value(best) <= value(place):
            break
        place = best
    score, voxels = _correlation(moved, second, place)
    axes = np.eye(3, dtype=int)
    part = [_vertex(*(value(_moved(place, sign * axis)) for sign in (-1, 0, 1))) for axis in axes]
    between = Body(shifted(moved.shown, part, order=3), moved.mask)
    score = max(score, _correlation(between, second, place)[0])
    shared = voxels / max(1, int(min(first.mask.sum(), second.mask.sum())))
    score -= CHANCE / max(voxels, 1) ** 0.5
    return Pair(candidate.first, candidate.second, score, shared, candidate.flips, place)


def _moved(place: Shift, step: Sequence[int] | np.ndarray) -> Shift:
    z, y, x = np.add(place, step).tolist()
    return z, y, x


def _start(first: Body, second: Body, offset: int) -> Shift:
    """Shift that lays the centres of both bodies on each other in the slices that they share."""
    ours, theirs = in_common(first.mask.shape[:1], second.mask.shape[:1], [offset])
    shifts = []
    for axis in (1, 2):
        areas = [mask.sum((0, 3 - axis)) + 1e-6 for mask in (first.mask[ours], second.mask[theirs])]
        places = [np.average(np.arange(len(area)), weights=area) for area in areas]
        shifts.append(round(float(places[1] - places[0])))
    return offset, shifts[0], shifts[1]


def in_common(first: Sequence[int], second: Sequence[int], shift: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where two volumes of these shapes lie on each other, the first moved by a shift: the part of the first, of the second."""
    ours, theirs = [], []
    for length, other, at in zip(first, second, shift):
        start, stop = max(0, at), max(0, at, min(other, at + length))
        ours.append(slice(start - at, stop - at))
        theirs.append(slice(start, stop))
    return tuple(ours), tuple(theirs)


def _correlation(first: Body, second: Body, at: Sequence[int]) -> tuple[float, int]:
    """Pearson correlation over the body in common, and its number of voxels; -1 where that is too small."""
    ours, theirs = in_common(first.mask.shape, second.mask.shape, at)
    body = first.mask[ours] & second.mask[theirs]
    voxels = int(body.sum())
    if voxels < MIN_VOXELS:
        return -1.0, voxels
    a, b = first.shown[ours][body], second.shown[theirs][body]
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-9)), voxels


def _vertex(before: float, here: float, after: float) -> float:
    """Where the parabola through three values at -1, 0 and 1 is highest, within half a step."""
    bend = before - 2 * here + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
