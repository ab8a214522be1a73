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
    found = distinct(read[0])
    broken = found[~(np.isfinite(found) & (found == np.rint(found)))]
    if broken.size:
        raise UserError(f"{file} holds values that are no integers ({_first_of(broken)}); was it resampled as an image?")
    known = np.isin(found, np.flatnonzero(annotation.declared)) if strict else (found >= 0) & (found < annotation.num_values)
    if not known.all():
        unknown = found[~known].astype(int)
        raise UserError(
            f"{file} holds the value{'s' * (unknown.size > 1)} {_first_of(unknown)}, which `labels` of its dataset.json does not "
            "declare; declare it, mend the file, or is it the dataset.json of another dataset?"
        )
    return read[0].astype(np.int32)


def distinct(array: np.ndarray) -> np.ndarray:
    """Sorted distinct values; only first values of rows and changes along them are sorted, few in a label map."""
    rows = np.moveaxis(array, int(np.argmin(np.abs(array.strides))), -1)
    found = [np.unique(rows[..., 0]), *(np.unique(part[:, 1:][part[:, 1:] != part[:, :-1]]) for part in rows)]
    return np.unique(np.concatenate(found))


def _first_of(values: np.ndarray) -> str:
    return ", ".join(map(str, values[:5].tolist())) + " ..." * (values.size > 5)
