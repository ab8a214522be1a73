"""The comparison on the page: which model is A and which is B, too few cases, cases without a distance."""

import math
import re

import pytest
from builders.report import ANNOTATION, scores

from nnunetv2_cdpd.evaluation.compare import compare_results, smallest_p
from nnunetv2_cdpd.evaluation.results import CaseScores, Results
from nnunetv2_cdpd.evaluation.tables import comparison_json, comparison_table
from nnunetv2_cdpd.report.comparison import comparison_tables, short_names
from nnunetv2_cdpd.report.page import write_report
from nnunetv2_cdpd.report.tables import FEWEST_CASES, without_distance


def missed():
    return scores(0.0, n_pred=0) | {"HD95_mm": math.inf, "SurfaceDice": 0.0}


def results_of(num_cases, dice, missed_cases=()):
    cases = tuple(
        CaseScores(f"c{number}", "A & B", "", "", {"liver": missed() if number in missed_cases else scores(dice + number / 100)})
        for number in range(num_cases)
    )
    return Results(ANNOTATION, ANNOTATION, cases, tolerance_mm=2.0)


def compared(num_cases, missed_cases=(), **names):
    comparison = compare_results(results_of(num_cases, 0.8, missed_cases), results_of(num_cases, 0.7))
    return comparison, comparison_tables(comparison_json(comparison, "/x/new/validation", "/x/old/validation"), **names)


def rows_of(tables, metric):
    return {row.name: row for row in tables.metrics[metric]}


def test_no_p_falls_below_the_smallest_one():
    from scipy.stats import wilcoxon

    for cases in range(1, 9):
        assert wilcoxon([1.0 + number for number in range(cases)]).pvalue == pytest.approx(smallest_p(cases, cases))
    assert [smallest_p(4, 4), smallest_p(4, 9), smallest_p(0, 5), smallest_p(0, 0)] == [0.125, 0.125, 0.0625, 1.0]
    assert FEWEST_CASES == 6


@pytest.mark.parametrize("num_cases, told", [(4, "not below 0.125"), (5, "not below 0.0625"), (6, None)])
def test_too_few_cases_for_a_significant_difference_are_flagged(tmp_path, num_cases, told):
    comparison, tables = compared(num_cases)
    row = rows_of(tables, "Dice")["liver"]
    assert row.is_few == (num_cases < 6) and row.numbers["p"] == pytest.approx(row.smallest_p)
    html = write_report(tmp_path / "r.html", title="T", results=comparison.results, comparison=tables).read_text()
    text = comparison_table(comparison, "a", "b")
    if told:
        assert f" †<small>{told}</small>" in html and "Fewer than 6 cases" in html
        assert f">{num_cases} †</td>" in html and f"p cannot fall below: liver {row.smallest_p:g}\n" in text
    else:
        assert "†" not in html and "cannot fall below" not in text


def test_a_and_b_are_named_wherever_they_stand(tmp_path):
    comparison, tables = compared(6, missed_cases=(1,))
    html = write_report(tmp_path / "r.html", title="T", results=comparison.results, comparison=tables).read_text()
    assert tables.names == ("new", "old") and "<b>A</b> is new, these predictions; <b>B</b> is old." in html
    assert html.count("A: mean<small>new</small>") == html.count("B: mean<small>old</small>") == 3
    assert "missed by A<small>new</small>" in html and "spurious in B<small>old</small>" in html
    assert '<div class="name">A</div><div>new: these predictions</div>' in html
    assert '<div class="name">B</div><div>old: compared with them</div>' in html
    for title in ("<h3>HD95 (mm)</h3>", "<h3>Surface Dice <span>tolerance 2 mm</span></h3>"):
        assert title in html
    assert compared(6, name="Ours")[1].names == ("Ours", "old")
    assert compared(6, other_name="nnU-Net/ResEnc L")[1].names == ("new", "nnU-Net/ResEnc L")


@pytest.mark.parametrize(
    "first, second, names",
    [
        ("/home/me/a", "/home/me/b", ("a", "b")),
        ("/me/modelA/fold_0/validation", "/me/modelB/fold_0/validation", ("modelA", "modelB")),
        ("pred", "x/pred", ("pred", "x/pred")),
        (r"C:\Users\me\new", r"D:\old", ("new", "old")),
        ("/me/same", "/me/same", ("same", "same")),
        ("/", "/a", ("", "a")),
    ],
)
def test_names_are_what_tells_the_folders_apart(first, second, names):
    assert short_names(first, second) == names


def test_missed_structures_are_told_where_hd95_leaves_them_out(tmp_path):
    comparison, tables = compared(8, missed_cases=(1, 4))
    assert rows_of(tables, "HD95_mm")["liver"].left_out == 2 and rows_of(tables, "HD95_mm")["liver"].numbers["cases"] == 6
    assert rows_of(tables, "Dice")["liver"].left_out == 0
    assert without_distance(comparison.results)["liver"] == 2 and without_distance(comparison.other)["liver"] == 0
    html = write_report(tmp_path / "r.html", title="T", results=comparison.results, comparison=tables).read_text()
    assert "mean HD95 (mm), 2 structures left out ‡" in html
    assert len(re.findall(r">2\.50<small>2 left out ‡</small>", html)) == 2  # the class, and the mean of classes
    assert '<td data-value="6">6<small>2 left out ‡</small></td>' in html  # the comparison's
    assert len(re.findall(r'<td data-value="">-<small>1 left out ‡</small>', html)) == 2  # the two cases
    assert "n = 6, 2 left out ‡" in html and html.count("has no HD95 and is left out") == 1
    clean = write_report(tmp_path / "r.html", title="T", results=comparison.other).read_text()
    assert "‡" not in clean


def test_columns_are_headed_with_unit_and_tolerance(tmp_path):
    html = write_report(tmp_path / "r.html", title="T", results=results_of(6, 0.8)).read_text()
    assert html.count('<th scope="col">HD95 (mm)') == 2
    assert '<th scope="col">Surface Dice<small>tolerance 2 mm</small></th>' in html and "surface Dice" not in html
    facts = dict(re.findall(r'<div class="name">(.*?)</div><div>(.*?)</div>', html))
    assert facts["Protocol"] == "nnU-Net&#39;s; HD95 in mm, Surface Dice at a tolerance of 2 mm"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["Page made"])
