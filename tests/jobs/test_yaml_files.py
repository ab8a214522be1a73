"""Values of the user's YAML files: each check takes what it should, and names file and key of what it does not."""

import pytest

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import flag, known_mapping, load_yaml, mapping, text, texts

WHERE = "my.yaml: key"


def test_values_as_they_are_meant():
    assert mapping({301: "a", "b": None}, WHERE) == {"301": "a", "b": None} and mapping(None, WHERE) == {}
    assert known_mapping({"a": 1}, ("a", "b"), WHERE) == {"a": 1} and known_mapping(None, ("a",), WHERE) == {}
    assert (text("liver", WHERE), text(7, WHERE)) == ("liver", "7")
    assert texts("a", WHERE) == ("a",) and texts(["a", 2], WHERE) == ("a", "2") and texts(None, WHERE) == ()
    assert flag(True, WHERE) is True and flag(False, WHERE) is False


@pytest.mark.parametrize(
    "check, value, words",
    [
        (mapping, ["a"], "['a']"),
        (mapping, {True: "a"}, "True"),
        (mapping, {1: "a", "1": "b"}, "1 given twice"),
        (text, True, "quotes"),  # a bare `yes` or `no`
        (text, " ", "is empty; write the text, or leave the key out"),
        (text, "a\0b", "holds a control character, 'a\\x00b'; write the text without it"),
        (text, 1.5, "1.5"),
        (text, None, "None"),
        (texts, ["a", ["b"]], "['b']"),
        (flag, "yes", "'yes'"),
        (flag, 1, "1"),
    ],
)
def test_value_of_another_kind_is_named(check, value, words):
    with pytest.raises(UserError) as caught:
        check(value, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: ") and words in str(caught.value)


def test_unknown_key_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="my.yaml: key: unknown key colour; known are name, size"):
        known_mapping({"name": 1, "colour": 2}, ("name", "size"), WHERE)


@pytest.mark.parametrize(
    "written, words",
    [
        ("a: 2020-13-45", "'2020-13-45' cannot be read as a date; put text in quotes in \"<unicode string>\", line 1, column 4"),
        ("a: !!timestamp soon", "'soon' cannot be read as a date"),
        ("a: !!int abc", "'abc' cannot be read as a whole number"),
        ("a: !!float x", "'x' cannot be read as a number"),
        ("a: !!bool maybe", "'maybe' cannot be read as true or false"),
        ("a: " + "9" * 5000, "99' cannot be read as a whole number"),
        ("a: 0x" + "f" * 9000, "ff' cannot be read as a whole number"),
        ("a: !!set [b]", "expected a mapping node, but found sequence"),
        ("a: " + "[" * 3000 + "]" * 3000, "lists or mappings in each other, too many to read"),
        ("1: a\n0x1: b", "0x1, 1 given twice"),
        ("a: 1\na: 2", "a given twice"),
        ("- a", "expected `key: value` lines, got ['a']; docs/x.md has an example"),
        ("hello", "expected `key: value` lines, got 'hello'; docs/x.md has an example"),
        ("5", "expected `key: value` lines, got 5; docs/x.md has an example"),
        ("x" * 9000, "xxx'; docs/x.md has an example"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_read_is_one_short_line(written, words, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(written)
    with pytest.raises(UserError) as caught:
        load_yaml(path, "docs/x.md")
    told = str(caught.value)
    assert told.startswith(f"{path}: ") and words in told and "\n" not in told and len(told) < 400


def test_file_as_it_is_meant(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n")
    assert load_yaml(path, "docs/x.md")["more"] == {"a": 1, "b": 3}
    path.write_text("")
    assert load_yaml(path, "docs/x.md") == {}


def test_what_nobody_writes_for_a_number_stays_text(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("010: colon\n10: other\n0012: case\n10_5: case\ntime: 1:30\nnumbers: [0, 7, -5, 0x1F, 1.5]\n")
    content = load_yaml(path, "docs/x.md")
    assert list(content) == ["010", 10, "0012", "10_5", "time", "numbers"]
    assert content["time"] == "1:30" and content["numbers"] == [0, 7, -5, 31, 1.5]
