"""Tables: what a spreadsheet would run is text, numbers stay numbers."""

import csv
import io

import pytest

from nnunetv2_cdpd.jobs.tables import csv_of


def cells(*row):
    (found,) = csv.reader(io.StringIO(csv_of([row]), newline=""))
    return found


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", '=HYPERLINK("x","y")', "=cmd|' /C calc'!A0"]
)
def test_a_text_that_a_spreadsheet_would_run_is_guarded(text):
    assert cells(text, "liver", 0.5) == [f"'{text}", "liver", "0.5"]


def test_numbers_and_other_texts_stay_as_they_are():
    assert cells(-0.25, -3, float("nan"), float("-inf"), None, "-2.5", "+1e-3") == [
        "-0.25",
        "-3",
        "nan",
        "-inf",
        "",
        "-2.5",
        "+1e-3",
    ]
    assert cells("case-1", "a=b", "left_kidney", "'quoted", "", " =1") == ["case-1", "a=b", "left_kidney", "'quoted", "", " =1"]
