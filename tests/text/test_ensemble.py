"""One embedding of several sentences, and every class with that of another."""

import pytest
import torch

from nnunetv2_cdpd.text.ensemble import ensembled
from nnunetv2_cdpd.text.permutation import permuted
from nnunetv2_cdpd.text.prompts import sentences, wording_text


def test_mean_direction_with_the_mean_length():
    embeddings = torch.tensor([[9.0, 9.0], [3.0, 0.0], [0.0, 4.0], [1.0, -7.0]])
    made = ensembled(embeddings, ["a liver", ["a spleen", "the spleen"], "a colon"])
    side = 3.5 / 2**0.5  # unit vectors along the axes, their mean at 45 degrees; lengths 3 and 4
    torch.testing.assert_close(made, torch.tensor([[9.0, 9.0], [side, side], [1.0, -7.0]]))
    assert torch.equal(made[[0, 2]], embeddings[[0, 3]])  # lone sentences bit by bit


def test_mean_of_the_same_sentence_is_its_embedding():
    one = torch.randn(1, 8)
    torch.testing.assert_close(ensembled(one.expand(3, -1), [["x"] * 3]), one)


def test_long_embeddings_count_no_more_than_short_ones():
    made = ensembled(torch.tensor([[100.0, 0.0], [0.0, 1.0]]), [("a", "b")])
    assert made[0, 0] == made[0, 1] == pytest.approx(50.5 / 2**0.5)


def test_sentences_of_a_class():
    assert sentences("a liver") == ("a liver",) and sentences(["a", "b"]) == ("a", "b")


def test_wording_names_every_sentence():
    text = wording_text(["liver", "left_kidney"], ["A liver", ["A kidney", "The left one"]], ["Both"])
    assert text.splitlines() == [
        "  1  liver        A liver",
        "  2  left_kidney  A kidney   (mean of 2)",
        "                  The left one",
        "     task 1       Both",
    ]


@pytest.mark.parametrize("count", [2, 3, 32, 104])
def test_every_class_gets_that_of_another_and_the_same_each_time(count):
    given = permuted(count)
    assert sorted(given) == list(range(count)) and all(k != other for k, other in enumerate(given))
    assert permuted(count) == given


def test_one_class_has_no_other():
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        permuted(1)
