"""Charts: where the marks of box plots and curves lie; charts.html draws them as SVG, small, sharp and named point by point."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.cbook import boxplot_stats

ROW, PLOT = 24, 330  # height of a row and width of the plot in a box plot, in its own units


class Tick(NamedTuple):
    """at: Along its axis. text: The value there."""

    at: float
    text: str


class Scale(NamedTuple):
    """An axis: position maps a value to 0 ... 1; ticks are values."""

    position: Callable[[float], float]
    ticks: Sequence[float]


class Point(NamedTuple):
    """A case in a box plot."""

    x: float
    y: float
    case: str
    value: float


@dataclass(frozen=True)
class Quartiles:
    """Box and whiskers of a class, along x."""

    low: float
    median: float
    width: float
    whiskers: tuple[float, float]


@dataclass(frozen=True)
class BoxRow:
    """A class in a box plot; box: None where no case has a value."""

    name: str
    y: float
    box: Quartiles | None
    points: Sequence[Point]


@dataclass(frozen=True)
class BoxPlot:
    """left, top: Where the plot begins; the names of the rows lie before it, the ticks above."""

    left, top = 190, 26
    width = left + PLOT + 16

    title: str
    ticks: Sequence[Tick]
    rows: Sequence[BoxRow]

    @property
    def height(self) -> int:
        return self.top + ROW * len(self.rows) + 6


class Curve(NamedTuple):
    """path: Path data."""

    name: str
    colour: str
    path: str


@dataclass(frozen=True)
class LineChart:
    """Curves over epochs; left, top, plot_width, plot_height: of the plot, around which the ticks lie."""

    left, top, plot_width, plot_height = 52, 12, 300, 150

    title: str
    value_ticks: Sequence[Tick]
    epoch_ticks: Sequence[Tick]
    curves: Sequence[Curve]


def share_scale() -> Scale:
    """From 0 to 1."""
    return Scale(lambda value: value, (0, 0.2, 0.4, 0.6, 0.8, 1.0))


def distance_scale(largest: float) -> Scale:
    """From 0 to the largest value, in which small values have more room: proportional to log(1 + value)."""
    largest = max(largest, 1.0)
    ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= largest]
    return Scale(lambda value: math.log1p(value) / math.log1p(largest), ticks)


def box_plot(title: str, values: dict[str, list[tuple[str, float]]], scale: Scale) -> BoxPlot:
    """A row per class: box of the quartiles with the median, whiskers to the last case within 1.5 times the box, every case.

    Args:
        values: Class -> one (case, value) per case that has a value.
    """

    def x(value: float) -> float:
        return round(BoxPlot.left + PLOT * scale.position(float(value)), 1)

    rows = [_box_row(name, its, BoxPlot.top + ROW * (index + 0.5), x) for index, (name, its) in enumerate(values.items())]
    return BoxPlot(title, [Tick(x(tick), f"{tick:g}") for tick in scale.ticks], rows)


def _box_row(name: str, cases: Sequence[tuple[str, float]], y: float, x: Callable[[float], float]) -> BoxRow:
    if not cases:
        return BoxRow(name, y, None, [])
    (stats,) = boxplot_stats([value for _, value in cases])
    low, median, high, first, last = (x(stats[mark]) for mark in ("q1", "med", "q3", "whislo", "whishi"))
    box = Quartiles(low, median, max(0.8, round(high - low, 1)), whiskers=(first, last))
    # spread a little, the same way each time, so that equal values stay apart
    points = [Point(x(value), y + index * 37 % 9 - 4, case, value) for index, (case, value) in enumerate(cases)]
    return BoxRow(name, y, box, points)


def line_chart(title: str, series: Sequence[tuple[str, str, np.ndarray]], epochs: np.ndarray) -> LineChart | None:
    """Curves over epochs; None where there is no value at all.

    Args:
        series: (name, colour, value per epoch; nan leaves a gap).
    """
    finite = np.concatenate([values[np.isfinite(values)] for _, _, values in series])
    if not finite.size:
        return None
    ticks = _round_ticks(float(finite.min()), float(finite.max()))
    low, high = ticks[0], ticks[-1]
    last = max(1, int(epochs[-1]))

    def x(epoch: float) -> float:
        return round(LineChart.left + LineChart.plot_width * epoch / last, 1)

    def y(value: float) -> float:
        return round(LineChart.top + LineChart.plot_height * (high - value) / (high - low), 1)

    value_ticks = [Tick(y(tick), f"{tick:g}") for tick in ticks]
    epoch_ticks = [Tick(x(epoch), str(epoch)) for epoch in sorted({0, last // 2, last})]
    curves = [Curve(name, colour, _polyline(epochs, values, x, y)) for name, colour, values in series]
    return LineChart(title, value_ticks, epoch_ticks, curves)


def _polyline(epochs: np.ndarray, values: np.ndarray, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    path, pen_down = [], False
    for epoch, value in zip(epochs.tolist(), values.tolist()):
        if math.isfinite(value):
            path.append(f"{'L' if pen_down else 'M'}{x(epoch)} {y(value)}")
        pen_down = math.isfinite(value)
    if len(path) == 1:
        path.append("h.1")  # a single epoch is a dot
    return "".join(path)


def _round_ticks(low: float, high: float) -> list[float]:
    """About five round numbers from below the lowest to above the highest value."""
    rough = (high - low or abs(high) or 1.0) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]
