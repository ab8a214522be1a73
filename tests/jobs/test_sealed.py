"""Sealed JSON: as it was written, or not at all."""

import json

import pytest

from nnunetv2_cdpd.jobs import read_sealed, write_sealed

CONTENT = {"case": "a", "numbers": [1, 0.1, None], "nested": {"of": {"b": True}}}


def test_what_was_written_is_read(tmp_path):
    write_sealed(tmp_path / "a.json", CONTENT)
    assert read_sealed(tmp_path / "a.json") == CONTENT


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: json.dumps(CONTENT),
        lambda text: text.replace("0.1", "0.2"),
        lambda text: text.replace('"case"', '"name"'),
    ],
)
def test_what_is_not_as_it_was_written_is_nothing(tmp_path, edit):
    path = tmp_path / "a.json"
    write_sealed(path, CONTENT)
    path.write_text(edit(path.read_text()))
    assert read_sealed(path) is None


def test_a_file_that_is_not_there_is_nothing(tmp_path):
    assert read_sealed(tmp_path / "a.json") is None
