"""Values of the user's YAML files: each check takes what it should, and names file and key of what it does not."""

import pytest

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.yaml_files import flag, known_mapping, mapping, text, texts

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
        (text, True, "quotes"),  # a bare `yes` or `no`
        (text, " ", "quotes"),
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
