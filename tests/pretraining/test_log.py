"""The log: which rows, means over which iterations, and the warning where an encoder collapses."""

import csv

import pytest

from nnunetv2_cdpd.pretraining.log import COLLAPSED, TELLS_NOTHING, RunLog


def row(iteration, slices=0.5, patches=0.5, information=0.5):
    return {"iteration": iteration, "slice_spread": slices, "patch_spread": patches, "information": information}


def test_a_row_is_the_mean_since_the_last_one():
    log = RunLog(120, 12)
    rows = [made for done in range(1, 121) if (made := log.add(done, {"loss": float(done)})) is not None]
    assert rows == [
        {"iteration": 1, "loss": 1},
        {"iteration": 10, "loss": 6},  # 2 to 10
        {"iteration": 50, "loss": 30.5},
        {"iteration": 100, "loss": 75.5},
        {"iteration": 120, "loss": 110.5},
    ]
    assert log.rows == rows


def test_a_log_that_goes_on_tells_no_iteration_twice():
    whole, first, second = RunLog(100, 10), RunLog(100, 10), RunLog(100, 10)
    for done in range(1, 101):
        whole.add(done, {"loss": done**2})
    for done in range(1, 31):
        first.add(done, {"loss": done**2})
    second.load(first.state())
    for done in range(31, 101):
        second.add(done, {"loss": done**2})
    assert second.rows == whole.rows


def test_the_file_has_a_line_for_each_row(tmp_path):
    log = RunLog(10, 1)
    for done in range(1, 11):
        log.add(done, {"loss": done / 4, "lr": 0.5})
    log.write(tmp_path / "run.csv")
    with (tmp_path / "run.csv").open() as file:
        assert list(csv.reader(file)) == [["iteration", "loss", "lr"], ["1", "0.25", "0.5"], ["10", "1.5", "0.5"]]


@pytest.mark.parametrize(("key", "what"), [("slices", "all slices"), ("patches", "all patches")])
def test_a_collapsed_encoder_is_told(key, what):
    lines = []
    log = RunLog(1000, 100)
    log.warn_of_collapse(row(100, **{key: COLLAPSED}), lines.append)
    assert not lines
    log.warn_of_collapse(row(99, **{key: 0.04}), lines.append)  # still warming up: from nothing all begins alike
    assert not lines
    log.warn_of_collapse(row(100, **{key: 0.04}), lines.append)
    (line,) = lines
    assert line.startswith(
        f"WARNING: the encoder collapses: the embeddings of {what} are nearly the same (standard deviation 0.040"
    )


def test_a_teacher_that_says_the_same_of_all_is_told_late_in_the_run():
    lines = []
    log = RunLog(1000, 100)
    log.warn_of_collapse(row(499, information=0.001), lines.append)
    log.warn_of_collapse(row(500, information=TELLS_NOTHING), lines.append)
    assert not lines
    log.warn_of_collapse(row(500, information=0.001), lines.append)
    (line,) = lines
    assert line.startswith(
        "WARNING: the teacher says nearly the same of every slice (information 0.001; 0: the same, 1: as different"
    )
