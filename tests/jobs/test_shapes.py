"""Shapes of JSON: the first misfit is told by file and key, with what is there and what is wanted."""

import json
import math

import numpy as np
import pytest

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.shapes import (
    FLAG,
    NAME,
    NUMBER,
    OBJECT,
    POSITIVE,
    SCORE,
    TEXT,
    check_shape,
    list_of,
    map_of,
    none_or,
    one_of,
    read_shaped,
    record,
    whole_number,
)

SHAPE = record(
    {"name": NAME, "size": list_of(whole_number(1), 3, 3)},
    {"cases": map_of(record({"spacing": list_of(POSITIVE)}), "an object of cases"), "note": none_or(TEXT), "on": FLAG},
)
GOOD = {"name": "a", "size": [1, 2, 3], "cases": {"x": {"spacing": [0.5, 1]}}, "note": None, "on": True, "more": object()}


@pytest.mark.parametrize("content", [GOOD, {"name": "a", "size": (1, np.int64(2), 3)}])
def test_what_fits_passes(content):
    check_shape(content, SHAPE, "my.json", "mend it")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": 5}, "`name` is 5, not a text"),
        ({"name": " "}, "`name` is ' ', not a text"),
        ({"size": 5}, "`size` is 5, not a list of 3 values, each a whole number from 1 on"),
        ({"size": [1, 2]}, "`size` is [1, 2], not a list of 3 values, each a whole number from 1 on"),
        ({"size": [1, 0, 3]}, "`size: 1` is 0, not a whole number from 1 on"),
        ({"size": [1, 2, True]}, "`size: 2` is True, not a whole number from 1 on"),
        ({"size": [1, 2, 3.0]}, "`size: 2` is 3.0, not a whole number from 1 on"),
        ({"cases": ["x"]}, "`cases` is ['x'], not an object of cases"),
        ({"cases": {"x": {}}}, "`cases: x: spacing` is missing, a list, each entry a number above 0"),
        ({"cases": {"x": {"spacing": [math.nan]}}}, "`cases: x: spacing: 0` is nan, not a number above 0"),
        ({"note": 5}, "`note` is 5, not a text or null"),
        ({"on": 1}, "`on` is 1, not true or false"),
    ],
)
def test_a_misfit_is_told_by_its_key(changes, told):
    with pytest.raises(UserError) as error:
        check_shape(GOOD | changes, SHAPE, "my.json", "mend it")
    assert str(error.value) == f"my.json: {told}; mend it"


@pytest.mark.parametrize("shape", [NUMBER, SCORE, POSITIVE])
def test_a_number_too_long_for_a_float_is_none(shape):
    for value in (10**400, -(10**400)):
        with pytest.raises(UserError, match="my.json: `a` is .*, not a number"):
            check_shape({"a": value}, record({"a": shape}), "my.json", "mend it")
    check_shape({"a": 10**300}, record({"a": shape}), "my.json", "mend it")


def test_a_score_may_be_none_or_endless_a_number_not():
    for value in (math.nan, math.inf):
        check_shape(value, SCORE, "my.json", "mend it")
        with pytest.raises(UserError, match="not a number"):
            check_shape(value, NUMBER, "my.json", "mend it")


def test_what_is_there_is_shown_in_short():
    with pytest.raises(UserError) as error:
        check_shape({"a": ["x" * 500] * 500}, record({"a": NUMBER}), "my.json", "mend it")
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["null", "5", '"text"', "[]", "true"])
def test_a_file_of_something_else_is_told(content, tmp_path):
    path = tmp_path / "my.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"my.json: holds .*, not an object; mend it"):
        read_shaped(path, record(), "mend it")


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "{\0}", b"\xff\xfe{}"])
def test_a_file_that_is_no_json_is_told(content, tmp_path):
    path = tmp_path / "my.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"my.json: cannot be read as JSON \(.*\); mend it") as error:
        read_shaped(path, record(), "mend it")
    assert "\n" not in str(error.value)


def test_a_missing_file_has_its_own_way_out(tmp_path):
    with pytest.raises(UserError, match="my.json: no such file; copy it there"):
        read_shaped(tmp_path / "my.json", OBJECT, "mend it", "copy it there")
    (tmp_path / "my.json").write_text(json.dumps({"a": 1}))
    assert read_shaped(tmp_path / "my.json", OBJECT, "mend it") == {"a": 1}


@pytest.mark.parametrize(
    ("value", "told"), [("c", "is 'c', not one of a, b"), (1, "is 1, not one of a, b"), (["a"], "not one of a, b")]
)
def test_a_text_out_of_a_few(value, told):
    shape = record({"kind": one_of("a", "b")})
    check_shape({"kind": "a"}, shape, "my.json", "mend it")
    with pytest.raises(UserError, match=told):
        check_shape({"kind": value}, shape, "my.json", "mend it")
