"""Intensity: where a label's header says nothing true, the image's HU below it do."""

from pathlib import Path

import numpy as np

from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.placement import Placement, times

_LEAST_LEAD = 0.02  # of the shares of the best two flips; closer ones cannot be told apart


def place_by_intensity(
    label: np.ndarray, image: np.ndarray, check: IntensityCheck, path: Path, said: tuple[int, ...] | None = None
) -> Placement:
    """Find the flip by which a label lies on tissue.

    Args:
        label: Integers (x, y, z), shape of the image.
        image: HU (x, y, z).
        said: Flips that the directions in the headers say, taken where the HU of two fit alike; None: they say nothing.

    Returns:
        The flips, and a note if there are any.

    Raises:
        UserError: Another shape, or in no flip enough labelled voxels have fitting HU, or two flips fit alike
            and no header tells them apart.
    """
    if label.shape != image.shape:
        raise UserError(f"{path} has {times(label.shape)} voxels, its image {times(image.shape)}")
    where = np.nonzero(label)
    if not len(where[0]):
        return Placement()
    shares = [_share(where, flips, image, check) for flips in check.flips]
    best = int(np.argmax(shares))
    low, high = check.window
    if shares[best] < check.least_share:
        raise UserError(
            f"{path}: only {shares[best]:.0%} of the labelled voxels have {low:g} to {high:g} HU, at least "
            f"{check.least_share:.0%} are expected; label and image do not belong together, or the image is not in HU"
        )
    alike = [flips for flips, share in zip(check.flips, shares) if shares[best] - share < _LEAST_LEAD]
    if len(alike) == 1:
        return _flipped(alike[0])
    if said not in alike:
        raise UserError(
            f"{path}: its HU do not tell how the label has to be flipped ({', '.join(f'{s:.0%}' for s in shares)} fit)"
        )
    return Placement(
        flips=said, note=f"the HU of {len(alike)} flips of the label fit alike, that which its header says was taken"
    )


def overruled_by_intensity(placement: Placement, label: np.ndarray, image: np.ndarray, check: IntensityCheck) -> Placement:
    """The placement that the headers say, unless the HU say against it: too few fit there, and enough in one other flip.

    Args:
        placement: Of the label on the image's grid.
        label: Integers (x, y, z), as stored.
        image: HU (x, y, z).
    """
    where = np.nonzero(placement.apply(label))
    if not len(where[0]) or label.shape != image.shape or _share(where, (), image, check) >= check.least_share:
        return placement
    stored = np.nonzero(label)
    sure = [flips for flips in check.flips if _share(stored, flips, image, check) >= check.least_share]
    return _flipped(sure[0]) if len(sure) == 1 else placement


def _share(where: tuple[np.ndarray, ...], flips: tuple[int, ...], image: np.ndarray, check: IntensityCheck) -> float:
    """Of these voxels, flipped along these axes, how many have HU in the window, 0 ... 1."""
    values = np.flip(image, flips)[where]
    return float(((values >= check.window[0]) & (values <= check.window[1])).mean())


def _flipped(flips: tuple[int, ...]) -> Placement:
    along = " and ".join("xyz"[axis] for axis in flips)
    return Placement(flips=flips, note=f"label flipped along {along}, where its voxels have fitting HU" if flips else None)
