"""Value types: the smallest type that holds all values of an image, as they are read from DICOM or NIfTI with slopes applied."""

from pathlib import Path

import numpy as np

from nnunetv2_cdpd.errors import UserError


def smallest_exact(array: np.ndarray, path: Path) -> np.ndarray:
    """The values in int16 where that changes none, else int32 or float32.

    Raises:
        UserError: Some are no numbers.
    """
    if array.dtype == np.int16:
        return array
    low, high = float(array.min()), float(array.max())  # nan if there is any
    if not np.isfinite((low, high)).all():
        raise UserError(f"{path} holds values that are no numbers (nan or infinite); mend it or leave the case out")
    if np.issubdtype(array.dtype, np.floating) and not all((part == np.rint(part)).all() for part in np.moveaxis(array, -1, 0)):
        return array.astype(np.float32)
    if low >= -(2**15) and high < 2**15:
        return array.astype(np.int16)
    return array.astype(np.int32 if low >= -(2**31) and high < 2**31 else np.float32)
