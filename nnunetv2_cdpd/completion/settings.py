"""CompletionSettings: which filters look at what teachers say, from which level on, and how teachers predict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnunetv2_cdpd.errors import UserError

CONFIDENCE, AGREEMENT, OUTLIER, RELIABILITY = "confidence", "agreement", "outlier", "reliability"
FILTERS = (CONFIDENCE, AGREEMENT, OUTLIER, RELIABILITY)
_MOST = 1e6  # of mm and standard deviations; no image has as many
_SHARES = ("plausible", "low", "high", "least_probability", "least_agreement", "least_dice")


@dataclass(frozen=True)
class CompletionSettings:
    """What is decided with; probabilities, Dice and shares are 0 ... 1.

    filters: Those that are used, of FILTERS.
    plausible: Where a structure may be that is not accepted: voxels that are at least so probable.
    low: Below, a voxel is not of the class.
    high: Above, it is; between, it is ignored.
    least_probability: Mean probability of a structure's voxels; below, the structure is uncertain.
    least_agreement: Dice of any two networks on a structure; below, it is uncertain.
    most_outlying: Robust standard deviations from the annotated cases; beyond, it is uncertain.
    least_dice: Of a teacher's cross-validation; classes below are not taken from it.
    margin_mm: By which a structure that is not accepted is grown.
    border_mm: Around a structure that is accepted, voxels are ignored up to here; 0: they are not of the class.
    step_size: Of the teachers' windows, as nnU-Net's.
    tta: Mirror images, as nnU-Net.
    """

    filters: tuple[str, ...] = FILTERS
    plausible: float = 0.05
    low: float = 0.25
    high: float = 0.75
    least_probability: float = 0.7
    least_agreement: float = 0.6
    most_outlying: float = 4.0
    least_dice: float = 0.5
    margin_mm: float = 5.0
    border_mm: float = 0.0
    step_size: float = 0.5
    tta: bool = True

    @property
    def widest_mm(self) -> float:
        """How far around a structure voxels may be ignored."""
        return max(self.margin_mm, self.border_mm)

    def uses(self, name: str) -> bool:
        """Whether a filter is used."""
        return name in self.filters

    def facts(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {**asdict(self), "filters": sorted(self.filters)}


def checked_settings(settings: CompletionSettings) -> CompletionSettings:
    """The settings themselves.

    Raises:
        UserError: An unknown filter, or a number that can't be.
    """
    _check_filters(settings.filters)
    for name in _SHARES:
        if not 0 <= getattr(settings, name) <= 1:
            raise UserError(f"argument {name} {getattr(settings, name)}: give a number from 0 to 1")
    if not settings.plausible <= settings.low < 0.5 < settings.high:
        raise UserError(
            f"argument low {settings.low} and argument high {settings.high}: give one below and one above 0.5, and the first "
            f"not below argument plausible, {settings.plausible}"
        )
    for name in ("most_outlying", "margin_mm", "border_mm"):
        if not 0 <= getattr(settings, name) < _MOST:
            raise UserError(f"argument {name} {getattr(settings, name)}: give a number from 0 on, below {_MOST:g}")
    if not 0 < settings.step_size <= 1:
        raise UserError(f"argument step_size {settings.step_size}: give a number above 0 up to 1")
    return settings


def chosen_filters(only: Sequence[str] | None, without: Sequence[str]) -> tuple[str, ...]:
    """The filters to use.

    Args:
        only: None: all.
        without: Of those, the ones that are not used.

    Raises:
        UserError: An unknown filter.
    """
    _check_filters((*(only or ()), *without))
    return tuple(name for name in FILTERS if (only is None or name in only) and name not in without)


def _check_filters(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in FILTERS]:
        raise UserError(f"argument filters: no filter {', '.join(unknown)}; there are {', '.join(FILTERS)}")
