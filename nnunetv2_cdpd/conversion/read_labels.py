"""Labels: read from a file, from image slices or from one mask per structure, checked, and remapped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.datasets.label_maps import distinct, integers, label_values
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.grid import Grid, same_place
from nnunetv2_cdpd.volumes.nifti import NiftiFile


@dataclass(frozen=True)
class Label:
    """A label as it was found.

    array: Integers (x, y, z) of any integer type.
    grid: Where it lies; None if its format does not tell.
    file: The NIfTI file, if it is one.
    notes: For the user.
    unmapped: Names in structure sets and segmentations that the declaration does not name, as they are shown.
    lost: Structure of theirs that was drawn and of which nothing is here -> why, so that its absence says nothing.
    """

    array: np.ndarray
    grid: Grid | None
    file: NiftiFile | None = None
    notes: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def present(self) -> np.ndarray:
        """Sorted distinct values."""
        return distinct(self.array)


def read_label(path: Path) -> Label:
    """Read a label map from one NIfTI file.

    Raises:
        UserError: It cannot be read, or holds values that are no integers.
    """
    file = NiftiFile(path)
    stored = file.read()
    array = _integers(stored, path)
    how = "as floating point numbers" if np.issubdtype(file.image.get_data_dtype(), np.floating) else "scaled"
    rounded = () if array is stored else (f"label stored {how}, all values integers",)
    return Label(array, file.grid, file, (*(f"label: {note}" for note in file.notes), *rounded))


def read_slices(paths: Sequence[Path]) -> Label:
    """Read a binary label from image slices (PNG): anything above 0 is 1.

    Args:
        paths: In the order of the image's slices.

    Raises:
        UserError: One cannot be read, or has another size than the others.
    """
    from PIL import Image

    slices: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.verify()  # checksums, which reading the pixels passes over
            with Image.open(path) as picture:
                slices.append(np.asarray(picture.convert("L")).T > 0)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as an image; download it again") from error
        if slices[-1].shape != slices[0].shape:
            raise UserError(f"{path} has another size than the first slice, {paths[0]}")
    return Label(np.stack(slices, axis=-1).astype(np.uint8), None)


def read_masks(masks: Sequence[tuple[int, Path]]) -> Label:
    """Join binary masks, one or more files per structure; where two overlap, the later one stays.

    Args:
        masks: Value and file of each, in the order in which they are painted.

    Raises:
        UserError: One cannot be read, is not binary, or lies on another grid than the others.
    """
    grid = NiftiFile(masks[0][1]).grid
    array = np.zeros(grid.shape, np.min_scalar_type(max(value for value, _ in masks)))
    overlap = False
    notes: list[str] = []
    for value, path in masks:
        file = NiftiFile(path)
        notes += [f"masks: {note}" for note in file.notes]
        mask = _integers(file.read(), path)
        low, high = int(mask.min()), int(mask.max())
        if low < 0 or (high > 1 and not np.isin(mask, (0, high)).all()):
            raise UserError(f"{path} is no binary mask (values {low} to {high})")
        if same_place(file.grid, grid, spacing_mm=1e-3, position_mm=1e-3, relative=1e-5):
            raise UserError(f"{path} lies on another grid than the other masks of the case")
        if high == 0:
            continue
        where = mask != 0
        overlap = overlap or not np.isin(array[where], (0, value)).all()
        array[where] = value
    notes += ["some masks overlap, the later structure was kept"] if overlap else []
    return Label(array, grid, notes=tuple(dict.fromkeys(notes)))


def remap(array: np.ndarray, values: Mapping[int, int], present: np.ndarray, path: Path) -> np.ndarray:
    """Replace source values by stored values.

    Args:
        array: Integers of any type.
        values: Source value -> stored value, of all declared values.
        present: `distinct` of the array.

    Returns:
        The same shape and memory order, uint8 where that holds all stored values, else uint16.

    Raises:
        UserError: A value is not declared.
    """
    if unknown := [int(value) for value in present if int(value) not in values]:
        more = " ..." if len(unknown) > 5 else ""
        raise UserError(
            f"{path} holds {', '.join(map(str, unknown[:5]))}{more}, which is not declared (declared are "
            f"{', '.join(map(str, sorted(values)))}); is it the right dataset and release? In a YAML of your own, `values` takes "
            f"`{unknown[0]}: NAME` or `{unknown[0]}: background`"
        )
    dtype = np.min_scalar_type(max(values.values()))
    if all(values[int(value)] == int(value) for value in present):
        return array.astype(dtype, copy=False)
    lowest = int(present[0])
    table = np.zeros(int(present[-1]) - lowest + 1, dtype)
    table[present.astype(np.int64) - lowest] = [values[int(value)] for value in present]
    return table[(array if lowest == 0 else array.astype(np.int64) - lowest)]


def _integers(array: np.ndarray, path: Path) -> np.ndarray:
    """A label of integers as it is, of floating point numbers as int32."""
    if not np.issubdtype(array.dtype, np.integer):
        label_values(array, path)
    return integers(array)
