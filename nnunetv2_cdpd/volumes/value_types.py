"""Value types: the smallest type that holds all values of an image, as they are read from DICOM or NIfTI with slopes applied."""

from pathlib import Path

import numpy as np

from nnunetv2_cdpd.errors import UserError


def check_finite(array: np.ndarray, path: Path | str) -> None:
    """Raise UserError unless all values are numbers that nnU-Net can hold, in single precision."""
    if array.size == 0 or not np.issubdtype(array.dtype, np.floating):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.array([array.min(), array.max()]).astype(np.float32)  # nan if there is any
    if not np.isfinite(ends).all():
        raise UserError(f"{path} holds values that are no numbers (nan or infinite); mend it or leave the case out")


def smallest_exact(array: np.ndarray, path: Path) -> np.ndarray:
    """The values in int16 where that changes none, else int32 or float32.

    Raises:
        UserError: Some are no numbers.
    """
    if array.dtype == np.int16:
        return array
    check_finite(array, path)
    low, high = float(array.min()), float(array.max())
    if np.issubdtype(array.dtype, np.floating) and not all((part == np.rint(part)).all() for part in np.moveaxis(array, -1, 0)):
        return array.astype(np.float32)
    if low >= -(2**15) and high < 2**15:
        return array.astype(np.int16)
    return array.astype(np.int32 if low >= -(2**31) and high < 2**31 else np.float32)
