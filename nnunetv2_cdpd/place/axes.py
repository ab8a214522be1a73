"""BodyAxes: arrays turned so that their axes run from feet to head, from front to back and from right to left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_cdpd.volumes.grid import Grid

HEIGHT, DEPTH, SIDE = 0, 1, 2  # the axes of a turned array
_LEAST_COSINE = np.cos(np.radians(30))  # an axis of the file that lies between two of the body's is none of them


@dataclass(frozen=True)
class BodyAxes:
    """How an array (Z, Y, X) of a file lies in the body.

    order: Its axes along, front to back and sideways.
    flipped: Which of these run the other way.
    spacing: Voxel size in mm, in this order.
    shape: Of the turned array.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, grid: Grid | None) -> "BodyAxes | None":
        """None: the file has no orientation, is no volume, or lies too obliquely for its axes to be the body's."""
        if grid is None or grid.axes is None or np.abs(grid.direction).max(0).min() < _LEAST_COSINE:
            return None
        sideways, front_to_back, along = grid.body_axes
        files = (along, front_to_back, sideways)  # counted from x; arrays run the other way round
        return cls(
            (2 - along, 2 - front_to_back, 2 - sideways),
            (grid.axes[along] != "S", grid.axes[front_to_back] != "P", grid.axes[sideways] != "L"),
            (float(grid.spacing[along]), float(grid.spacing[front_to_back]), float(grid.spacing[sideways])),
            (grid.shape[files[0]], grid.shape[files[1]], grid.shape[files[2]]),
        )

    def turned(self, array: np.ndarray) -> np.ndarray:
        """A view of (Z, Y, X) whose axes run towards head, back and left."""
        return np.flip(array.transpose(self.order), tuple(np.flatnonzero(self.flipped).tolist()))

    def turned_box(self, box: Sequence[slice]) -> tuple[slice, ...]:
        """A box of the array of the file, as one of the turned array."""
        sides = [box[axis] for axis in self.order]
        return tuple(
            slice(length - side.stop, length - side.start) if flipped else side
            for side, length, flipped in zip(sides, self.shape, self.flipped)
        )

    def in_file(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 3, 2) mm of the turned array, as voxel indices of the array of the file, whole or not; inf stays."""
        boxes = np.asarray(boxes, float)
        found = np.empty(boxes.shape)
        for axis, (length, mm, flipped) in enumerate(zip(self.shape, self.spacing, self.flipped)):
            ends = boxes[..., axis, :] / mm
            found[..., self.order[axis], :] = length - 1 - ends[..., ::-1] if flipped else ends
        return found

    def voxels(self, box: np.ndarray) -> tuple[slice, ...]:
        """The voxels of the array of the file whose middles lie in a box, (3, 2) mm of the turned array; may be none."""
        shape = [self.shape[self.order.index(axis)] for axis in range(3)]
        return tuple(voxels_between(ends, length) for ends, length in zip(self.in_file(box), shape))


def voxels_between(ends: Sequence[float], length: int) -> slice:
    """The voxels of an axis whose middles lie between two indices, whole or not, those included; may be none."""
    first, stop = (int(np.clip(end, 0, length)) for end in (np.ceil(ends[0]), np.floor(ends[1]) + 1))
    return slice(first, max(first, stop))
