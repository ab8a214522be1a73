"""Charts: box plots and curves as SVG, drawn without a library so that they are small, sharp and named point by point."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

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


def box_plot(title: str, rows: Sequence[BoxRow], scale: Scale) -> str:
    """A row per class: box of the quartiles with the median, whiskers to the last case within 1.5 times the box, every case."""
    height = TOP + ROW * len(rows) + 6
    width = LABELS + PLOT + RIGHT
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for tick in scale.ticks:
        x = LABELS + PLOT * scale.position(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 4}V{height - 6}"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP - 10}" text-anchor="middle" class="tick">{tick:g}</text>')
    parts += [_box(row, TOP + ROW * (index + 0.5), scale) for index, row in enumerate(rows)]
    return f"<figure><figcaption>{escape(title)}</figcaption>\n{''.join(parts)}</svg></figure>"


def _box(row: BoxRow, middle: float, scale: Scale) -> str:
    label = f'<text x="{LABELS - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(_cut(row.name, 30))}</text>'
    if not row.values:
        return label + f'<text x="{LABELS + 6}" y="{middle + 4:.1f}" class="tick">no case with a value</text>'
    values = np.array([value for _, value in row.values])
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    reach = WHISKER * (high - low)
    whiskers = values[(values >= low - reach) & (values <= high + reach)]

    def x(value: float) -> float:
        return LABELS + PLOT * scale.position(float(value))

    box = (
        f'<path class="whisker" d="M{x(whiskers.min()):.1f} {middle:.1f}H{x(whiskers.max()):.1f}"/>'
        f'<rect class="box" x="{x(low):.1f}" y="{middle - 7:.1f}" width="{max(0.8, x(high) - x(low)):.1f}" height="14" '
        f'fill="{row.colour}" stroke="{row.colour}"/><path class="median" d="M{x(median):.1f} {middle - 7:.1f}v14"/>'
    )
    # spread a little, the same way each time, so that equal values stay apart
    points = "".join(
        f'<circle cx="{x(value):.1f}" cy="{middle + index * 37 % 9 - 4:.1f}" r="2"><title>{escape(case)}: {value:.3f}</title>'
        "</circle>"
        for index, (case, value) in enumerate(row.values)
    )
    return f"{label}{box}{points}"


def line_chart(title: str, series: Sequence[tuple[str, str, np.ndarray]], epochs: np.ndarray) -> str:
    """Curves over epochs.

    Args:
        series: (name, colour, value per epoch; nan leaves a gap).
    """
    finite = np.concatenate([values[np.isfinite(values)] for _, _, values in series])
    if not finite.size:
        return ""
    left, top, plot_width, plot_height = 52, 12, 300, 150
    ticks = _round_ticks(float(finite.min()), float(finite.max()))
    low, high = ticks[0], ticks[-1]
    last = max(1, int(epochs[-1]))

    def point(epoch: float, value: float) -> str:
        return f"{left + plot_width * epoch / last:.1f} {top + plot_height * (high - value) / (high - low):.1f}"

    size = f"{left + plot_width + 12} {top + plot_height + 38}"
    parts = [f'<svg class="chart" viewBox="0 0 {size}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        y = top + plot_height * (high - tick) / (high - low)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}h{plot_width}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{tick:g}</text>')
    for epoch in sorted({0, last // 2, last}):
        x = left + plot_width * epoch / last
        parts.append(f'<text x="{x:.1f}" y="{top + plot_height + 18}" text-anchor="middle" class="tick">{epoch}</text>')
    parts.append(f'<text x="{left + plot_width / 2}" y="{top + plot_height + 32}" text-anchor="middle" class="tick">epoch</text>')
    for _, colour, values in series:
        parts.append(f'<path class="curve" stroke="{colour}" d="{_polyline(epochs, values, point)}"/>')
    names = "".join(f'<span><i style="background: {colour}"></i>{escape(name)}</span>' for name, colour, _ in series if name)
    return f"<figure><figcaption>{escape(title)}{names}</figcaption>\n{''.join(parts)}</svg></figure>"


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
