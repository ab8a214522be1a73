"""Source slices: from our upright grid back to the slices that an archive has, and the other way round, value for value.

A model sees a series on an upright grid (`Series.image`). That is the slices' own grid, unless the gantry was tilted: then each
slice lies somewhere else within the grid's planes. The nearest voxels of a slice are those that lie a whole number of columns
and rows further, one number for all of a slice, so labels are moved and never resampled: what goes there comes back as it was.

    upright grid (x, y, z)   ── on_slices ──>   slices (slice, row, column)
                             <── on_grid ───

Slices are counted along their normal, as z of the grid is, whatever their order in files and frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom.header import Slice
from nnunetv2_cdpd.volumes.dicom.series import Series, read_series
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.placement import place_label


@dataclass(frozen=True)
class SourceSlices:
    """The slices of a series, and how they lie on its upright grid.

    slices: n of them, in the order of the grid's z.
    grid: Upright; all slices lie within it.
    offsets: (n, 2) whole numbers: the voxel x, y of the grid at which each slice's first column and row lie.
    """

    slices: tuple[Slice, ...]
    grid: Grid
    offsets: np.ndarray

    @classmethod
    def of(cls, series: Series) -> "SourceSlices":
        upright = series.upright
        first = np.rint(np.linalg.inv(upright.affine) @ [*series.grid.origin, 1])[:2]  # the first slice's corner, on the grid
        beside = [series.way_in_plane(index) for index in range(len(series.slices))]
        return cls(series.slices, upright, np.rint(first + beside).astype(int))

    @classmethod
    def read(cls, files: Sequence[Path], modality: str | None = None) -> "SourceSlices":
        """Of the files of a series; see `read_series`, also for what it raises."""
        return cls.of(read_series(files, modality))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns: of an array on the slices."""
        columns, rows = self.slices[0].size
        return len(self.slices), rows, columns

    @property
    def is_tilted(self) -> bool:
        """Whether slices lie beside each other, as with a tilted gantry."""
        return bool((self.offsets != self.offsets[0]).any())

    @cached_property
    def frame_of_reference(self) -> str:
        """What the positions of the slices are relative to, as a unique identifier.

        Raises:
            UserError: A slice does not say it, or two say different ones.
        """
        first = self.slices[0]
        for entry in self.slices:
            if not entry.frame_of_reference:
                raise UserError(
                    f"{entry.path}: has no FrameOfReferenceUID, so no other file can say that it lies in the same place; export "
                    "the series again"
                )
            if entry.frame_of_reference != first.frame_of_reference:
                raise UserError(f"{first.path} and {entry.path} are of one series but differ in their FrameOfReferenceUID")
        return first.frame_of_reference

    # ---- arrays ----------------------------------------------------------------------------------------------------

    def on_slices(self, array: np.ndarray, grid: Grid | None = None) -> np.ndarray:
        """Values of an array (x, y, z) at the voxels of the slices, (n, rows, columns); what lies beside the slices is lost.

        Args:
            grid: That of the array; None: this one's. It may list the same voxels in another order of axes.

        Raises:
            UserError: It is another one.
        """
        placed = place_label(self.grid if grid is None else grid, self.grid).apply(array)
        found = np.empty(self.shape, array.dtype)
        for index, (x, y) in enumerate(self.offsets):
            found[index] = placed[x : x + self.shape[2], y : y + self.shape[1], index].T
        return found

    def on_grid(self, array: np.ndarray) -> np.ndarray:
        """Values (n, rows, columns) at the voxels of the slices as an array (x, y, z) on the grid; 0 beside the slices."""
        placed = np.zeros(self.grid.shape, array.dtype)
        for index, (x, y) in enumerate(self.offsets):
            placed[x : x + self.shape[2], y : y + self.shape[1], index] = array[index].T
        return placed

    # ---- points ----------------------------------------------------------------------------------------------------

    def position(self, index: int, points: np.ndarray) -> np.ndarray:
        """Where points (m, 2), column and row, whole or not, of a slice lie: (m, 3) in mm (LPS)."""
        entry = self.slices[index]
        return entry.position + (np.asarray(points, float) * entry.spacing) @ entry.orientation

    def index_of(self, positions: np.ndarray) -> np.ndarray:
        """Column, row and slice, whole or not, (m, 3), of points (m, 3) in mm (LPS).

        Between slices and outside of them, columns and rows are those of a slice that would lie there.
        """
        corners, along, normal = self._corners
        row, column = self.slices[0].orientation
        depths = np.asarray(positions, float) @ normal
        lower = np.clip(np.searchsorted(along, depths, side="right") - 1, 0, len(along) - 2)
        share = (depths - along[lower]) / (along[lower + 1] - along[lower])
        corner = corners[lower] + share[:, None] * (corners[lower + 1] - corners[lower])
        in_plane = (positions - corner) @ np.stack([row, column], axis=1) / self.slices[0].spacing
        return np.column_stack([in_plane, lower + share])

    @cached_property
    def _corners(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the slices, (n, 3) in mm, their places along the normal, and that."""
        corners = np.array([entry.position for entry in self.slices])
        normal = np.cross(*self.slices[0].orientation)
        return corners, corners @ normal, normal
