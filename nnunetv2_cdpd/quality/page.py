"""Page of a calibration: what the cross-validation showed of it, and a reliability diagram of each class."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.pages.template import write_html
from nnunetv2_cdpd.quality.intervals import COVERAGE
from nnunetv2_cdpd.quality.model import QualityModel
from nnunetv2_cdpd.quality.probabilities import Reliability

CALIBRATION_PAGE = "cdpd_quality.html"
_LEFT, _TOP, _SIDE = 40, 10, 200  # of the plot, a square


class ReliabilityChart(NamedTuple):
    """A diagram of one class; before, after: path data of its curves; errors: expected calibration errors of both."""

    name: str
    before: str
    after: str
    errors: tuple[float, float]
    left: int = _LEFT
    top: int = _TOP
    side: int = _SIDE


class ClassRow(NamedTuple):
    """A class: its cases, and where a predicted Dice is flagged; volume_ml: mean of the training cases, with the usual range."""

    name: str
    cases: int
    threshold: float
    volume_ml: tuple[float, float, float] | None


def reliability_chart(name: str, before: Reliability, after: Reliability) -> ReliabilityChart:
    return ReliabilityChart(name, _path(before), _path(after), (before.error, after.error))


def write_calibration_page(model: QualityModel, path: Path) -> None:
    """Write the page.

    Raises:
        UserError: There is a file of this name that is no page of ours.
    """
    rows = []
    for name in model.classes:
        its = model.anatomy.get(name)
        limits = None
        if its is not None:
            limits = tuple(math.exp(its.log_volume + far * its.log_volume_sd) for far in (0, -2, 2))
        threshold = model.flags.thresholds.get(name, model.flags.threshold)
        rows.append(ClassRow(name, model.class_cases.get(name, 0), threshold, limits))  # type: ignore[arg-type]
    write_html(
        path,
        "quality/page.html",
        title="Calibration of the quality of predictions",
        palette=Palette.of(model.classes),
        model=model,
        coverage=COVERAGE,
        rows=rows,
        charts=[reliability_chart(name, *two) for name, two in model.reliability.items() if two[0].voxels],
    )


def _path(diagram: Reliability) -> str:
    points: Sequence[tuple[float, float]] = [
        (round(_LEFT + _SIDE * p, 1), round(_TOP + _SIDE * (1 - share), 1))
        for p, share in zip(diagram.probability, diagram.share)
    ]
    return "".join(f"{'L' if number else 'M'}{x} {y}" for number, (x, y) in enumerate(points))
