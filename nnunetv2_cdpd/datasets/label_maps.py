"""Label maps: what their values are, and that they are labels at all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.annotation import Annotation
from nnunetv2_cdpd.errors import UserError

_ROUNDING, _RELATIVE = 1e-4, 1e-6  # from an integer, and of the value besides; more is no rounding
_MOST = 2**31  # label values are below


def checked_label_map(read: np.ndarray, annotation: Annotation, file: str, strict: bool = True) -> np.ndarray:
    """(X, Y, Z) integers of what nnU-Net's reader returned: float (1, X, Y, Z).

    Args:
        strict: False: values below the highest one that is declared are taken as they are.

    Raises:
        UserError: More than one channel, values that are no integers, or values that the annotation does not declare.
    """
    if len(read) != 1:
        raise UserError(f"{file} has {len(read)} channels, not one; a label map has one value per voxel")
    found = label_values(read[0], file)
    known = np.isin(found, np.flatnonzero(annotation.declared)) if strict else (found >= 0) & (found < annotation.num_values)
    if not known.all():
        unknown = found[~known].tolist()
        raise UserError(
            f"{file} holds the value{'s' * (len(unknown) > 1)} {_first_of(unknown)}, which `labels` of its dataset.json does not "
            f'declare; declare it ("NAME": {unknown[0]}), mend the file, or is it the dataset.json of another dataset?'
        )
    return integers(read[0])


def label_values(array: np.ndarray, file: str | Path) -> np.ndarray:
    """Sorted distinct values of a label, integers; some writers scale labels, so that 1 is 1.0000000591.

    Raises:
        UserError: Values that are no integers, by more than rounding in single precision.
    """
    found = distinct(array)
    if np.issubdtype(found.dtype, np.integer):
        return found
    with np.errstate(invalid="ignore"):  # of what is not finite
        is_whole = (np.abs(found - np.rint(found)) <= _ROUNDING + _RELATIVE * np.abs(found)) & (np.abs(found) < _MOST)
    if broken := found[~is_whole].tolist():
        raise UserError(f"{file} holds values that are no integers ({_first_of(broken)}); was it resampled as an image?")
    return np.unique(np.rint(found).astype(np.int64))


def integers(array: np.ndarray) -> np.ndarray:
    """A label of `label_values` as integers, int32 if it was stored as floating point numbers."""
    return array if np.issubdtype(array.dtype, np.integer) else np.rint(array).astype(np.int32)


def distinct(array: np.ndarray) -> np.ndarray:
    """Sorted distinct values; only first values of rows and changes along them are sorted, few in a label map."""
    rows = np.moveaxis(array, int(np.argmin(np.abs(array.strides))), -1)
    found = [np.unique(rows[..., 0]), *(np.unique(part[:, 1:][part[:, 1:] != part[:, :-1]]) for part in rows)]
    return np.unique(np.concatenate(found))


def _first_of(values: Sequence[float]) -> str:
    first = (f"{value:.7g}" if isinstance(value, float) else str(value) for value in values[:5])
    return ", ".join(first) + " ..." * (len(values) > 5)
