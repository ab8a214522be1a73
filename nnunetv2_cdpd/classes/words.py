"""Words of a class name, and the side that they say: pure functions on text, whatever the structure."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

SCOPE = "@"  # between the name of a class and the source whose definition of it is meant: "pancreas@MSD"

# A letter with its number is one word ("vertebra_L1", "vertebraL1"): the fourth alternative would make a left one of it
_WORD = re.compile(r"(?:(?<![A-Za-z])[A-Za-z]|(?<=[a-z])[A-Z])\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WORD_OR_SIGN = re.compile(rf"{_WORD.pattern}|[^\s_\-,;()\[\]]")
_DOT = re.compile(r"(?<!\d)\.|\.(?!\d)")  # of an abbreviation
# English, hemispheres as FreeSurfer has them, Latin, Italian, German
SIDE_WORDS = {
    **dict.fromkeys("left l lt lh sinister sinistra sinistro links linke linker linkes sin sx".split(), "left"),
    **dict.fromkeys("right r rt rh dexter dextra destra destro rechts rechte rechter rechtes dex dx".split(), "right"),
}
_AT_AN_END = frozenset(("sin", "sx", "dex", "dx"))  # a side as the first or the last word; else "tumor sin contraste"
_SIDED_WORD = re.compile(r"(left|right)([a-z]{3,})|([a-z]{3,})(left|right)")  # no "cleft", "bright", "upright"
_LUMBAR = frozenset(("spine", "vertebra", "vertebrae"))  # of these, `l` is the lumbar part
_RIBS = frozenset(("rib", "ribs"))  # of these, `l1` is the first left one


def name_key(name: str) -> str:
    """What makes two spellings one name: letters and digits, without case, `_`, `-` and spaces."""
    return re.sub(r"[\s_\-]+", "", name).lower()


@lru_cache(maxsize=4096)
def name_words(name: str) -> tuple[str, ...]:
    """Split a class name into lower-case words: "RightParotid", "right_parotid" -> ("right", "parotid").

    A lone letter stays with its number ("vertebra_L1" -> ("vertebra", "l1")); accents are dropped.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return tuple(word.lower() for word in _WORD.findall(plain))


def words_and_signs(name: str) -> tuple[str, ...]:
    """`name_words` that keeps all that is seen: letters of other alphabets and signs that separate nothing, one by one."""
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter) and unicodedata.category(letter) != "Cf")
    return tuple(word.lower() for word in _WORD_OR_SIGN.findall(_DOT.sub(" ", plain)))


def split_side(words: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The words that do not tell a side, and the side; all words and None where they tell none, or both."""
    if not _RIBS.isdisjoint(words):
        words = " ".join(re.sub(r"^([lr])(\d+)$", r"\1 \2", word) for word in words).split()
    words = [part for word in words for part in _parted(word)]
    letters_count = _LUMBAR.isdisjoint(words)
    within = _AT_AN_END.intersection(words[1:-1])
    sided = {
        word: SIDE_WORDS[word] for word in words if word in SIDE_WORDS and word not in within and (letters_count or len(word) > 2)
    }
    others = tuple(word for word in words if word not in sided)
    if len(set(sided.values())) == 1:
        return others, next(iter(sided.values()))
    return tuple(words), None


def _parted(word: str) -> tuple[str, ...]:
    """("left", "tibia") of "lefttibia", else the word."""
    match = _SIDED_WORD.fullmatch(word)
    return (word,) if match is None else tuple(part for part in match.groups() if part)


def unscoped(name: str) -> str:
    return name.partition(SCOPE)[0]
