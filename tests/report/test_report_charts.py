"""Charts of the report: even ticks with round numbers, axes that hold what they show or say so, values where they belong."""

import math

import numpy as np
import pytest
from jinja2 import DictLoader, Environment, PackageLoader

from nnunetv2_cdpd.pages.palette import Palette
from nnunetv2_cdpd.report.charts import PLOT, BoxPlot, ClassScores, box_plot, distance_axis, line_chart, share_axis

NOWHERE = (math.nan, math.nan)


def class_of(*values, interval=NOWHERE, left_out=0):
    return ClassScores([(f"c{index}", value) for index, value in enumerate(values)], interval, left_out)


def steps(axis):
    return np.diff(axis.ticks)


@pytest.mark.parametrize(
    "values, first, last",
    [
        ((0.93, 0.97), 0.86, 0.98),
        ((0.62, 0.99), 0.6, 1.0),
        ((0.0, 1.0), 0.0, 1.0),
        ((1.0,), 0.9, 1.0),
        ((0.0,), 0.0, 0.1),
        ((), 0.0, 1.0),
    ],
)
def test_an_axis_of_shares_begins_where_the_data_are(values, first, last):
    axis = share_axis("Dice", {"liver": class_of(*values)})
    assert (axis.ticks[0], axis.ticks[-1]) == (pytest.approx(first), pytest.approx(last))
    assert np.allclose(steps(axis), steps(axis)[0]) and 4 <= len(axis.ticks) <= 7
    assert all(axis.ticks[0] <= value <= axis.ticks[-1] for value in values)


def test_an_axis_that_does_not_begin_at_0_says_so():
    classes = {"liver": class_of(0.93, 0.97)}
    assert box_plot(classes, share_axis("Dice", classes)).remark == "axis begins at 0.86, not at 0"
    classes = {"liver": class_of(0.0, 0.97)}
    assert box_plot(classes, share_axis("Dice", classes)).remark == ""


@pytest.mark.parametrize("largest, ticks", [(0.0, 1.0), (0.7, 0.8), (4.2, 5), (37.0, 40), (230.0, 250), (999.0, 1000)])
def test_ticks_of_distances_are_even_from_0(largest, ticks):
    axis = distance_axis("HD95 (mm)", {"liver": class_of(largest, largest / 2)})
    assert axis.ticks[0] == 0 and np.allclose(steps(axis), steps(axis)[0]) and 4 <= len(axis.ticks) <= 7
    assert largest <= axis.ticks[-1] <= max(1.0, 1.35 * largest)
    assert [axis.position(tick) for tick in axis.ticks] == pytest.approx(np.linspace(0, 1, len(axis.ticks)).tolist())


def test_a_case_far_out_does_not_squeeze_the_others_and_is_told():
    classes = {"liver": class_of(*np.linspace(1, 9, 20), 300.0, interval=(4.0, 40.0)), "none": class_of(left_out=3)}
    chart = box_plot(classes, distance_axis("HD95 (mm)", classes))
    assert [tick.text for tick in chart.ticks] == ["0", "10", "20", "30", "40"]
    assert chart.remark == "axis ends at 40, 1 case lies beyond (triangles)"
    liver, none = chart.rows
    assert [point.beyond for point in liver.points] == [False] * 20 + [True]
    assert liver.points[-1].x == BoxPlot.left + PLOT and liver.points[-1].value == 300
    assert (none.box, none.mean, none.cases, none.left_out) == (None, None, 0, 3)


def test_a_row_shows_quartiles_mean_interval_and_every_case():
    values = [0.1, *np.linspace(0.6, 1.0, 9)]
    classes = {"liver <1>": class_of(*values, interval=(0.5, 0.8)), "one": class_of(0.5)}
    chart = box_plot(classes, share_axis("Dice", classes))
    row, one = chart.rows
    assert [tick.text for tick in chart.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    marks = (row.box.low, row.box.median, row.box.low + row.box.width, row.mean.at, *row.mean.interval)
    expected = (low, median, high, np.mean(values), 0.5, 0.8)
    assert [(mark - BoxPlot.left) / PLOT for mark in marks] == pytest.approx(expected, abs=1e-3)
    assert row.cases == len(row.points) == 10 and row.points[0][2:] == ("c0", 0.1, False)
    assert one.mean.interval is None and one.cases == 1


def test_a_chart_as_svg_holds_its_marks():
    classes = {"liver": class_of(1.0, 2.0, 3.0, 500.0, interval=(1.0, 4.0), left_out=2), "<b>": class_of(left_out=1)}
    loader = DictLoader({"page": '{% from "report/charts.html" import box_plot with context %}{{ box_plot(chart) }}'})
    environment = Environment(autoescape=True, loader=loader)
    package = PackageLoader("nnunetv2_cdpd", ".")
    environment.loader.mapping["report/charts.html"] = package.get_source(environment, "report/charts.html")[0]
    environment.filters["number"] = lambda value, digits: f"{value:.{digits}f}"
    chart = box_plot(classes, distance_axis("HD95 (mm)", classes))
    svg = environment.get_template("page").render(chart=chart, palette=Palette.of(classes), fewest=6)
    assert svg.count("<circle") == 3 and svg.count('class="case-mark" d=') == 1 and "c3: 500.000" in svg
    assert svg.count('class="whisker"') == svg.count('class="mean"') == 1 and "&lt;b&gt;" in svg and "no case with a value" in svg
    text = " ".join(svg.split())
    assert "n = 4 †, 2 left out ‡" in text and "n = 0, 1 left out ‡" in text and chart.remark in text


def test_a_curve_has_gaps_where_nothing_was_logged_and_round_ticks():
    values = np.array([-0.9, -0.5, np.nan, -0.2, 0.13])
    chart = line_chart("Loss", [("training", values)], np.arange(5))
    (curve,) = chart.curves
    assert curve.path.count("M") == 2 and curve.path.count("L") == 2 and curve.colour == 1
    assert [float(tick.text) for tick in chart.value_ticks] == [-1.0, -0.5, 0.0, 0.5]
    assert line_chart("Loss", [("", np.full(5, np.nan))], np.arange(5)) is None
    assert "h.1" in line_chart("Loss", [("", np.array([0.5]))], np.arange(1)).curves[0].path
