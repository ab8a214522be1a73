"""Intensity: where a label's header says nothing true, the image's HU below it do."""

from pathlib import Path

import numpy as np

from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.placement import Placement, times

_LEAST_LEAD = 0.02  # of the shares of the best two flips; closer ones cannot be told apart


def place_by_intensity(label: np.ndarray, image: np.ndarray, check: IntensityCheck, path: Path) -> Placement:
    """Find the flip by which a label lies on tissue.

    Args:
        label: Integers (x, y, z), shape of the image.
        image: HU (x, y, z).

    Returns:
        The flips, and a note if there are any.

    Raises:
        UserError: Another shape, or in no flip enough labelled voxels have fitting HU, or two flips fit alike.
    """
    if label.shape != image.shape:
        raise UserError(f"{path} has {times(label.shape)} voxels, its image {times(image.shape)}")
    where = np.nonzero(label)
    if not len(where[0]):
        return Placement()
    low, high = check.window
    values_of_flips = (np.flip(image, flips)[where] for flips in check.flips)
    shares = [float(((values >= low) & (values <= high)).mean()) for values in values_of_flips]
    best = int(np.argmax(shares))
    if shares[best] < check.least_share:
        raise UserError(
            f"{path}: only {shares[best]:.0%} of the labelled voxels have {low:g} to {high:g} HU, at least "
            f"{check.least_share:.0%} are expected; label and image do not belong together, or the image is not in HU"
        )
    rest = [share for index, share in enumerate(shares) if index != best]
    if rest and shares[best] - max(rest) < _LEAST_LEAD:
        raise UserError(
            f"{path}: its HU do not tell how the label has to be flipped ({', '.join(f'{s:.0%}' for s in shares)} fit)"
        )
    flips = check.flips[best]
    note = (
        f"label flipped along {' and '.join('xyz'[axis] for axis in flips)}, where its voxels have fitting HU" if flips else None
    )
    return Placement(flips=flips, note=note)
