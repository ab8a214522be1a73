"""Charts: box plots and curves as numbers that parts.html draws as SVG: small, sharp, and named point by point."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

ROW, TOP, LABELS, PLOT, RIGHT = 24, 26, 190, 330, 16  # of a box plot, in its own units
WHISKER = 1.5  # interquartile ranges


class BoxRow(NamedTuple):
    """A class in a box plot: one (case, value) per case that has a value."""

    name: str
    colour: str
    values: Sequence[tuple[str, float]]


class Scale(NamedTuple):
    """An axis: position maps a value to 0 ... 1; ticks are values."""

    position: Callable[[float], float]
    ticks: Sequence[float]


def share_scale() -> Scale:
    """From 0 to 1."""
    return Scale(lambda value: value, (0, 0.2, 0.4, 0.6, 0.8, 1.0))


def distance_scale(largest: float) -> Scale:
    """From 0 to the largest value, in which small values have more room: proportional to log(1 + value)."""
    largest = max(largest, 1.0)
    ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= largest]
    return Scale(lambda value: math.log1p(value) / math.log1p(largest), ticks)


@dataclass(frozen=True)
class Tick:
    """A line of the grid and its label."""

    x: str
    y: str
    text: str
    path: str = ""


@dataclass(frozen=True)
class BoxPlot:
    """What parts.html draws, in units of the picture."""

    title: str
    width: int
    height: int
    ticks: Sequence[Tick]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class LineChart:
    """What parts.html draws. values, epochs: Ticks of the two axes. curves: name, colour and path of each."""

    title: str
    width: int
    height: int
    values: Sequence[Tick]
    epochs: Sequence[Tick]
    curves: Sequence[Mapping[str, str]]


def box_plot(title: str, rows: Sequence[BoxRow], scale: Scale) -> BoxPlot:
    """A row per class: box of the quartiles with the median, whiskers to the last case within 1.5 times the box, every case."""
    height = TOP + ROW * len(rows) + 6
    at = [(LABELS + PLOT * scale.position(tick), tick) for tick in scale.ticks]
    ticks = [Tick(f"{x:.1f}", str(TOP - 10), f"{tick:g}", f"M{x:.1f} {TOP - 4}V{height - 6}") for x, tick in at]
    boxes = [_box(row, TOP + ROW * (index + 0.5), scale) for index, row in enumerate(rows)]
    return BoxPlot(title, LABELS + PLOT + RIGHT, height, ticks, boxes)


def _box(row: BoxRow, middle: float, scale: Scale) -> dict[str, Any]:
    label = {
        "label": _cut(row.name, 30),
        "label_x": LABELS - 10,
        "label_y": f"{middle + 4:.1f}",
        "empty_x": LABELS + 6,
        "colour": row.colour,
        "points": [],
    }
    if not row.values:
        return label
    values = np.array([value for _, value in row.values])
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    reach = WHISKER * (high - low)
    whiskers = values[(values >= low - reach) & (values <= high + reach)]

    def x(value: float) -> float:
        return LABELS + PLOT * scale.position(float(value))

    # spread a little, the same way each time, so that equal values stay apart
    points = [
        {"x": f"{x(value):.1f}", "y": f"{middle + index * 37 % 9 - 4:.1f}", "name": f"{case}: {value:.3f}"}
        for index, (case, value) in enumerate(row.values)
    ]
    return {
        **label,
        "whisker": f"M{x(whiskers.min()):.1f} {middle:.1f}H{x(whiskers.max()):.1f}",
        "box_x": f"{x(low):.1f}",
        "box_y": f"{middle - 7:.1f}",
        "box_width": f"{max(0.8, x(high) - x(low)):.1f}",
        "median": f"M{x(median):.1f} {middle - 7:.1f}v14",
        "points": points,
    }


def line_chart(title: str, series: Sequence[tuple[str, str, np.ndarray]], epochs: np.ndarray) -> LineChart | None:
    """Curves over epochs; None where there is no value.

    Args:
        series: (name, colour, value per epoch; nan leaves a gap).
    """
    finite = np.concatenate([values[np.isfinite(values)] for _, _, values in series])
    if not finite.size:
        return None
    left, top, plot_width, plot_height = 52, 12, 300, 150
    ticks = _round_ticks(float(finite.min()), float(finite.max()))
    low, high = ticks[0], ticks[-1]
    last = max(1, int(epochs[-1]))

    def point(epoch: float, value: float) -> str:
        return f"{left + plot_width * epoch / last:.1f} {top + plot_height * (high - value) / (high - low):.1f}"

    heights = [(top + plot_height * (high - tick) / (high - low), tick) for tick in ticks]
    values_ticks = [Tick(str(left - 6), f"{y + 4:.1f}", f"{tick:g}", f"M{left} {y:.1f}h{plot_width}") for y, tick in heights]
    epoch_ticks = [
        Tick(f"{left + plot_width * epoch / last:.1f}", str(top + plot_height + 18), str(epoch))
        for epoch in sorted({0, last // 2, last})
    ]
    epoch_ticks.append(Tick(f"{left + plot_width / 2}", str(top + plot_height + 32), "epoch"))
    curves = [{"name": name, "colour": colour, "path": _polyline(epochs, values, point)} for name, colour, values in series]
    return LineChart(title, left + plot_width + 12, top + plot_height + 38, values_ticks, epoch_ticks, curves)


def _polyline(epochs: np.ndarray, values: np.ndarray, point: Callable[[float, float], str]) -> str:
    path, pen_down = [], False
    for epoch, value in zip(epochs, values):
        if np.isfinite(value):
            path.append(f"{'L' if pen_down else 'M'}{point(epoch, value)}")
        pen_down = bool(np.isfinite(value))
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


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
