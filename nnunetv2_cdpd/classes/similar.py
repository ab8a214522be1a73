"""Names that are nearly the same: what may be a slip of the pen, for a person to decide."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache

from nnunetv2_cdpd.classes.lookup import class_key, known_names, normal_words
from nnunetv2_cdpd.classes.words import unscoped

_LEAST = 0.8  # of two words, share of letters in common
_FEWEST_LETTERS = 4


def nearly_same(name: str, others: Iterable[str]) -> str | None:
    """The name that a name is nearly, among some others and all that the tables know; None if there is none.

    Both say the same side, hold the same numbers, and every word is nearly one of the other name's; what has a word more is
    something else ("esophagus_wall").
    """
    own = class_key(name)
    best: tuple[float, str] | None = None
    for other in (*others, *known_names().values()):
        key = class_key(other)
        if (key.side, key.scope) != (own.side, own.scope) or key.base == own.base:
            continue
        score = _likeness(normal_words(unscoped(name)), normal_words(unscoped(other)))
        if score >= _LEAST and (best is None or score > best[0]):
            best = score, other
    return best and best[1]


def _likeness(words: tuple[str, ...], others: tuple[str, ...]) -> float:
    """The least likeness of words in their order, or of the names as one word where they are split differently."""
    if min(len("".join(words)), len("".join(others))) < _FEWEST_LETTERS or _numbers(words) != _numbers(others):
        return 0.0
    if len(words) == len(others):
        return min(_ratio(word, other) for word, other in zip(words, others))
    return 0.0 if set(words) <= set(others) or set(others) <= set(words) else _ratio("".join(words), "".join(others))


@lru_cache(maxsize=4096)
def _numbers(words: tuple[str, ...]) -> list[str]:
    return [word for word in words if any(letter.isdigit() for letter in word)]


def _ratio(word: str, other: str) -> float:
    return SequenceMatcher(None, word, other, autojunk=False).ratio()
