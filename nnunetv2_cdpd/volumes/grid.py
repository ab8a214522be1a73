"""Grid: where the voxels of an image lie in the patient.

One frame for everything: LPS, that of DICOM and SimpleITK. x grows towards the patient's left, y to the back, z to the head,
in mm. NIfTI's RAS turns into it here and nowhere else. Grids list their axes as files do, x first; arrays that SimpleITK and
nnU-Net read have them the other way round, z first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError

AXES_ROUNDED = 1e-2  # cosines that perpendicular axes may be off by; more is a sheared grid, not rounding
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ONE_PER_AXIS = str.maketrans("RAI", "LPS")  # the two sides that an axis of the body leads to, as one letter


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid of n = 2 or 3 axes.

    shape: Voxels along x, y(, z).
    spacing: Voxel size in mm, (n,).
    origin: Centre of the first voxel in mm, (n,).
    direction: (n, n), the unit vector of each axis in its column.
    """

    shape: tuple[int, ...]
    spacing: np.ndarray
    origin: np.ndarray
    direction: np.ndarray

    @classmethod
    def of_nifti(cls, shape: Sequence[int], affine: np.ndarray) -> "Grid":
        """From a NIfTI file's affine, (4, 4), voxel index -> mm (RAS)."""
        affine = _RAS_TO_LPS @ affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return cls(tuple(map(int, shape)), spacing, affine[:3, 3], affine[:3, :3] / spacing)

    @classmethod
    def of_image(cls, image: sitk.Image | sitk.ImageFileReader) -> "Grid":
        """Of a SimpleITK image, or of a reader that has read a header; a fourth axis is one of channels."""
        return cls._of_itk(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def _of_itk(
        cls, size: Sequence[int], spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float]
    ) -> "Grid":
        """From what ITK says of an image of 2 to 4 axes; a fourth axis is one of channels."""
        count = len(spacing)
        n = min(count, 3)
        return cls(tuple(size[:n]), np.array(spacing[:n]), np.array(origin[:n]), np.reshape(direction, (count, count))[:n, :n])

    @classmethod
    def of_properties(cls, array_shape: Sequence[int], properties: Mapping[str, Any]) -> "Grid | None":
        """Of an array that a reader of nnU-Net read.

        Args:
            array_shape: (Z, Y, X), without channels, or with nnU-Net's single slice (1, Y, X).
            properties: That the reader returned beside it.

        Returns:
            None for a format without geometry.
        """
        if "sitk_stuff" in properties:
            stuff = properties["sitk_stuff"]
            return cls._of_itk(tuple(reversed(array_shape)), stuff["spacing"], stuff["origin"], stuff["direction"])
        if "nibabel_stuff" in properties:
            stuff = properties["nibabel_stuff"]
            affine = np.asarray(stuff.get("reoriented_affine", stuff["original_affine"]), float)
            return cls.of_nifti(tuple(reversed(array_shape)), affine)
        return None

    @classmethod
    def of_array(cls, array_shape: Sequence[int], properties: Mapping[str, Any]) -> "Grid":
        """`of_properties`; of a format without geometry the shape and the spacing alone, at the origin."""
        found = cls.of_properties(array_shape, properties)
        if found is not None:
            return found
        n = len(array_shape)
        return cls(tuple(reversed(array_shape)), np.array(properties["spacing"][::-1], float), np.zeros(n), np.eye(n))

    @cached_property
    def affine(self) -> np.ndarray:
        """(4, 4), voxel index x, y, z -> mm (LPS), of a 3D grid."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * self.spacing
        affine[:3, 3] = self.origin
        return affine

    @property
    def nifti_affine(self) -> np.ndarray:
        """(4, 4), voxel index x, y, z -> mm (RAS), as NIfTI stores it."""
        return _RAS_TO_LPS @ self.affine

    def position(self, index: Sequence[float]) -> np.ndarray:
        """Where a voxel index x, y(, z), whole or not, lies in mm."""
        steps = self.direction * self.spacing * np.asarray(index, float)
        return steps.sum(1) + self.origin  # in the order of ITK, for the same value to the last bit

    @property
    def looks_lost(self) -> bool:
        """Whether spacing, direction and origin are those that a file gets when nobody writes them."""
        return bool(np.allclose(np.abs(self.affine), np.eye(4), atol=1e-6))

    @cached_property
    def axes(self) -> str | None:
        """Towards which side of the body each axis x, y, z runs, a letter of L R A P S I each, like "LPS"; None in 2D."""
        if len(self.shape) != 3:
            return None
        return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(self.direction.ravel().tolist())

    @property
    def body_axes(self) -> tuple[int, int, int]:
        """Which of the axes x, y, z (0, 1, 2) of a 3D grid runs sideways, which from front to back, which along the body."""
        of_letter = {letter: axis for axis, letter in enumerate((self.axes or "").translate(_ONE_PER_AXIS))}
        return of_letter["L"], of_letter["P"], of_letter["S"]

    def orthonormal(self) -> tuple["Grid", float]:
        """The nearest grid with perpendicular axes and the same spacing, and how far this one is from it (cosines)."""
        u, _, v = np.linalg.svd(self.direction)
        return replace(self, direction=u @ v), float(np.abs(self.direction - u @ v).max())


def check_not_sheared(grid: Grid, path: Path) -> None:
    """Raise UserError unless the axes of the grid of a file are perpendicular but for rounding."""
    if grid.orthonormal()[1] > AXES_ROUNDED:
        raise UserError(f"{path} has a sheared grid (a tilted gantry?), which nnU-Net cannot use; resample it first")


def corners_of(grid: Grid) -> tuple[float, ...]:
    """Where the middles of the first and of the last voxel lie, in mm: six numbers of a volume."""
    ends = ([0] * len(grid.shape), [length - 1 for length in grid.shape])
    return tuple(number for index in ends for number in grid.position(index).tolist())


def same_place(one: Grid, other: Grid, *, spacing_mm: float, position_mm: float, relative: float = 0.0) -> str | None:
    """What tells two grids apart: "shape", "spacing", "origin" or "direction"; None if they are the same.

    Args:
        spacing_mm: By how much spacings may differ.
        position_mm: By how much origins may differ in mm, and direction cosines.
        relative: By which share of itself each number may differ besides.
    """
    tolerances = {"shape": 0.0, "spacing": spacing_mm, "origin": position_mm, "direction": position_mm}
    for what, tolerance in tolerances.items():  # a difference in shape explains the others
        a, b = np.asarray(getattr(one, what), float), np.asarray(getattr(other, what), float)
        if a.shape != b.shape or not np.allclose(a, b, rtol=relative, atol=tolerance):
            return what
    return None


def same_for_nnunet(one: Grid, other: Grid) -> str | None:
    """`same_place`, shape and spacing as closely as nnU-Net compares them (numpy's `allclose`), which refuses to go on otherwise.

    Origin (mm) and direction cosines as closely as headers hold them, in single precision; tools round them differently.
    """
    return same_place(one, other, spacing_mm=1e-8, position_mm=1e-3, relative=1e-5)
