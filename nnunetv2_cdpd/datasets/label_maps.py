"""Label maps: what their values are, and that they are labels at all."""

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError


def checked_label_map(read: np.ndarray, annotation: Annotation, file: str, strict: bool = True) -> np.ndarray:
    """(X, Y, Z) integers of what nnU-Net's reader returned: float (1, X, Y, Z).

    Args:
        strict: False: values below the highest one that is declared are taken as they are.

    Raises:
        UserError: More than one channel, values that are no integers, or values that the annotation does not declare.
    """
    if len(read) != 1:
        raise UserError(f"{file} has {len(read)} channels, not one; a label map has one value per voxel")
    with np.errstate(invalid="ignore"):  # of a value that is not a number
        label_map = read[0].astype(np.int32)
    if (label_map != read[0]).any():
        raise UserError(f"{file} holds values that are no integers; was it resampled as an image?")
    lowest, highest = int(label_map.min()), int(label_map.max())
    unknown = lowest if lowest < 0 else highest if highest >= annotation.num_values else None
    if strict and unknown is None and not (known := annotation.declared[label_map]).all():
        unknown = int(label_map.flat[np.argmin(known)])
    if unknown is not None:
        raise UserError(
            f"{file} holds the value {unknown}, which `labels` of its dataset.json does not declare; is it the dataset.json of "
            "another dataset?"
        )
    return label_map


def distinct(array: np.ndarray) -> np.ndarray:
    """Sorted distinct values; only first values of rows and changes along them are sorted, few in a label map."""
    rows = np.moveaxis(array, int(np.argmin(np.abs(array.strides))), -1)
    found = [np.unique(rows[..., 0]), *(np.unique(part[:, 1:][part[:, 1:] != part[:, :-1]]) for part in rows)]
    return np.unique(np.concatenate(found))
