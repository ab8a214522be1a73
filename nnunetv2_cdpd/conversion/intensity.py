"""Intensity: where a label's header says nothing true, the image's HU below it do."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnunetv2_cdpd.conversion.declaration import IntensityCheck
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.placement import Placement, times

_LEAST_LEAD = 0.02  # of the shares of the best two flips; closer ones cannot be told apart
_LEAST_OF_SHARE = 0.5  # of the least share, below which headers that agree are not believed: a label in air
_CLEAR_LEAD = 0.1  # over headers that agree: fat at the border of an organ is a few per cent, which a flip onto the liver has not


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
    _check_fit(max(shares), check, path)
    alike = [check.flips[index] for index in _alike(shares)]
    if len(alike) == 1:
        return _flipped(alike[0])
    if said not in alike:
        raise _untold(shares, path)
    return Placement(
        flips=said, note=f"the HU of {len(alike)} flips of the label fit alike, that which its header says was taken"
    )


def overruled_by_intensity(
    placement: Placement, label: np.ndarray, image: np.ndarray, check: IntensityCheck, path: Path
) -> Placement:
    """The placement that the headers say, unless the HU say against it: clearly more fit in one other flip. A note tells of some
    more.

    Flips of the label where the headers put it are tried, and flips of the label as it is stored.

    Args:
        placement: Of the label on the image's grid.
        label: Integers (x, y, z), as stored.
        image: HU (x, y, z).

    Raises:
        UserError: Nowhere have enough labelled voxels fitting HU, or several flips fit alike, and clearly better than the
            placement that the headers say.
    """
    placed = np.nonzero(placement.apply(label))
    if not len(placed[0]):
        return placement
    said = _share(placed, (), image, check)
    shares = {_flipped(flips, placement): _share(placed, flips, image, check) for flips in check.flips}
    known = {(found.axes, found.flips) for found in shares}
    if label.shape == image.shape:
        stored = np.nonzero(label)
        for found in map(_flipped, check.flips):
            if (found.axes, found.flips) not in known:
                as_stored = replace(found, note=found.note or "label taken as it is stored, where its voxels have fitting HU")
                shares[as_stored] = _share(stored, found.flips, image, check)
    best = max([said, *shares.values()])
    if best < check.least_share * _LEAST_OF_SHARE:
        _check_fit(best, check, path)
    if best < check.least_share:
        return _doubted(placement, f"only {said:.0%} of the labelled voxels have fitting HU where the headers say")
    if best - said < _LEAST_LEAD:
        return placement
    if best - said < _CLEAR_LEAD:
        shares_told = f"{best:.0%} of the labelled voxels have fitting HU in a flip, {said:.0%} where the headers say"
        return _doubted(placement, shares_told)
    alike = _alike(list(shares.values()))
    if len(alike) > 1:
        raise _untold(shares.values(), path)
    return list(shares)[alike[0]]


def _doubted(placement: Placement, doubt: str) -> Placement:
    """What the headers say, with a note."""
    note = f"{doubt}, which are believed"
    return replace(placement, note=f"{placement.note}; {note}" if placement.note else note)


def _check_fit(best: float, check: IntensityCheck, path: Path) -> None:
    low, high = check.window
    if best < check.least_share:
        raise UserError(
            f"{path}: only {best:.0%} of the labelled voxels have {low:g} to {high:g} HU, at least "
            f"{check.least_share:.0%} are expected; label and image do not belong together, or the image is not in HU"
        )


def _alike(shares: Sequence[float]) -> list[int]:
    """Which ones fit best: one, or several that cannot be told apart."""
    return [index for index, share in enumerate(shares) if max(shares) - share < _LEAST_LEAD]


def _untold(shares: Iterable[float], path: Path) -> UserError:
    fits = ", ".join(f"{share:.0%}" for share in shares)
    return UserError(f"{path}: its HU do not tell how the label has to be flipped ({fits} fit)")


def _share(where: tuple[np.ndarray, ...], flips: tuple[int, ...], image: np.ndarray, check: IntensityCheck) -> float:
    """Of these voxels, flipped along these axes, how many have HU in the window, 0 ... 1."""
    values = np.flip(image, flips)[where]
    return float(((values >= check.window[0]) & (values <= check.window[1])).mean())


def _flipped(flips: tuple[int, ...], placed: Placement = Placement()) -> Placement:
    """A label flipped where it was placed."""
    along = " and ".join("xyz"[axis] for axis in flips)
    note = f"label flipped along {along}, where its voxels have fitting HU" if flips else None
    return Placement(placed.axes, tuple(sorted({*placed.flips} ^ {*flips})), note)
