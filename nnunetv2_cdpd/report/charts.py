"""Charts: where the marks of box plots and curves lie; charts.html draws them as SVG, small, sharp and named point by point."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.cbook import boxplot_stats

ROW, PLOT = 36, 330  # height of a row and width of the plot in a box plot, in its own units
LEAST_SHARES = 0.1  # that an axis of shares spans
MOST_BEYOND = 2.5  # times what boxes and means need: an axis of distances as long as that still shows every case


class Tick(NamedTuple):
    """at: Along its axis. text: The value there."""

    at: float
    text: str


class Axis(NamedTuple):
    """ticks: Values from its beginning to its end, evenly spaced."""

    title: str
    ticks: Sequence[float]

    def position(self, value: float) -> float:
        """0 ... 1; of a value beyond the end, the end."""
        first, last = self.ticks[0], self.ticks[-1]
        return (min(value, last) - first) / (last - first)


class ClassScores(NamedTuple):
    """One metric of a class.

    values: (case, value) of every case with a finite value.
    interval: 95 % interval of their mean; nan where there is none.
    left_out: Cases scored on the class that have no finite value.
    """

    values: Sequence[tuple[str, float]]
    interval: tuple[float, float]
    left_out: int = 0


class Point(NamedTuple):
    """A case in a box plot; beyond: it lies beyond the end of the axis."""

    x: float
    y: float
    case: str
    value: float
    beyond: bool


class Mean(NamedTuple):
    """at: Of the mean, along x. interval: Ends of its whiskers; None: there is no interval."""

    at: float
    interval: tuple[float, float] | None


class Quartiles(NamedTuple):
    """The box of a class, along x."""

    low: float
    median: float
    width: float


@dataclass(frozen=True)
class BoxRow:
    """A class in a box plot; box and mean are None where no case has a value."""

    name: str
    y: float
    cases: int
    left_out: int
    box: Quartiles | None
    mean: Mean | None
    points: Sequence[Point]


@dataclass(frozen=True)
class BoxPlot:
    """left, top: Where the plot begins; the names of the rows lie before it, the ticks above."""

    left, top = 190, 42
    width = left + PLOT + 16

    title: str
    remark: str
    ticks: Sequence[Tick]
    rows: Sequence[BoxRow]

    @property
    def height(self) -> int:
        return self.top + ROW * len(self.rows) + 6


class Curve(NamedTuple):
    """colour: Number of its colour in the style. path: Path data."""

    name: str
    colour: int
    path: str


@dataclass(frozen=True)
class LineChart:
    """Curves over epochs; left, top, plot_width, plot_height: of the plot, around which the ticks lie."""

    left, top, plot_width, plot_height = 52, 12, 300, 150

    title: str
    value_ticks: Sequence[Tick]
    epoch_ticks: Sequence[Tick]
    curves: Sequence[Curve]


def share_axis(title: str, classes: Mapping[str, ClassScores]) -> Axis:
    """From just below the lowest value to just above the highest one; values lie in 0 ... 1."""
    values = [value for scores in classes.values() for _, value in scores.values] or [0.0, 1.0]
    low = max(0.0, min(*values, max(values) - LEAST_SHARES))
    return Axis(title, _round_ticks(low, max(*values, low + LEAST_SHARES)))


def distance_axis(title: str, classes: Mapping[str, ClassScores]) -> Axis:
    """From 0 to beyond the largest value; where single cases lie far out, to beyond what boxes and means need."""
    values = [[value for _, value in scores.values] for scores in classes.values() if scores.values]
    if not values:
        return Axis(title, _round_ticks(0.0, 1.0))
    inner = [boxplot_stats(its)[0]["whishi"] for its in values] + [float(np.mean(its)) for its in values]
    inner += [scores.interval[1] for scores in classes.values() if math.isfinite(scores.interval[1])]
    largest, needed = max(map(max, values)), max(inner)
    return Axis(title, _round_ticks(0.0, (largest if largest <= MOST_BEYOND * needed else needed) or 1.0))


def box_plot(classes: Mapping[str, ClassScores], axis: Axis) -> BoxPlot:
    """A row per class: every case, box of the quartiles with the median, and the mean with its interval."""

    def x(value: float) -> float:
        return round(BoxPlot.left + PLOT * axis.position(float(value)), 1)

    last = axis.ticks[-1]
    rows = [_box_row(name, its, BoxPlot.top + ROW * (index + 0.5), x, last) for index, (name, its) in enumerate(classes.items())]
    beyond = sum(point.beyond for row in rows for point in row.points)
    remarks = [f"axis begins at {axis.ticks[0]:g}, not at 0"] if axis.ticks[0] else []
    remarks += [f"axis ends at {last:g}, {beyond} case{'s lie' if beyond > 1 else ' lies'} beyond (triangles)"] if beyond else []
    return BoxPlot(axis.title, "; ".join(remarks), [Tick(x(tick), f"{tick:g}") for tick in axis.ticks], rows)


def _box_row(name: str, scores: ClassScores, y: float, x: Callable[[float], float], last: float) -> BoxRow:
    values = [value for _, value in scores.values]
    if not values:
        return BoxRow(name, y, 0, scores.left_out, None, None, [])
    (stats,) = boxplot_stats(values)
    low, median, high = (x(stats[mark]) for mark in ("q1", "med", "q3"))
    box = Quartiles(low, median, max(0.8, round(high - low, 1)))
    first, end = map(x, scores.interval) if math.isfinite(scores.interval[0]) else (0.0, 0.0)
    mean = Mean(x(float(np.mean(values))), (first, end) if end else None)
    # spread a little, the same way each time, so that equal values stay apart
    points = [
        Point(x(value), y - 10 + index * 37 % 9, case, value, value > last) for index, (case, value) in enumerate(scores.values)
    ]
    return BoxRow(name, y, len(values), scores.left_out, box, mean, points)


def line_chart(title: str, series: Sequence[tuple[str, np.ndarray]], epochs: np.ndarray) -> LineChart | None:
    """Curves over epochs; None where there is no value at all.

    Args:
        series: (name, value per epoch; nan leaves a gap).
    """
    finite = np.concatenate([values[np.isfinite(values)] for _, values in series])
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
    curves = [Curve(name, number, _polyline(epochs, values, x, y)) for number, (name, values) in enumerate(series, start=1)]
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
    """About six round numbers from below the lowest to above the highest value."""
    rough = (high - low or abs(high) or 1.0) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    # a value that is a tick, but for rounding, needs no further one
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]
