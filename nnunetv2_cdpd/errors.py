"""Errors: UserError, a mistake that the user can mend; any error as a line, many in few lines; checks of numbers and names."""

import re
from collections.abc import Iterable, Sequence
from unicodedata import category

_MOST_WORDS = 40  # of an error that a library raised; some run over pages
_MOST_LETTERS = 64  # of a name that others wrote into a file


class UserError(Exception):
    """Something is wrong with what the user gave; the message names the file or argument and the way out.

    Where a message means an argument of the function that was called, it says `argument NAME`; the command line puts its own
    flag there. It prints the message without a traceback and exits with code 1. Library callers may catch it.
    """


def one_line(error: BaseException) -> str:
    """An error as a line: the message of a UserError as it is, of others the kind of error and its reason."""
    words = str(error).split()
    if isinstance(error, UserError) and words:
        return " ".join(words)
    if isinstance(error, OSError) and error.strerror:
        place = error.filename2 or error.filename
        return f"{place}: {error.strerror}" if place else error.strerror
    if isinstance(error, MemoryError):
        return "needs more memory than there is" + (f" ({reason(error)})" if words else "")
    return f"{type(error).__name__}: {reason(error)}" if words else reason(error)


def reason(error: BaseException) -> str:
    """The first words of an error, for a message that says what failed; its kind where it has none.

    Some libraries put the whole traceback of what they met into the text; it is left out.
    """
    text = str(error).partition("Traceback (most recent call last)")[0]
    return " ".join(text.split()[:_MOST_WORDS]) or type(error).__name__


def check_at_least(least: int, **arguments: int | None) -> None:
    """Raise UserError for the first argument of a function that is given and too small."""
    for name, value in arguments.items():
        if value is not None and value < least:
            raise UserError(f"argument {name} {value}: give {least} or more")


def check_part(part_id: int, num_parts: int) -> None:
    """Raise UserError unless a part is one of several that share the work."""
    check_at_least(1, num_parts=num_parts)
    if not 0 <= part_id < num_parts:
        raise UserError(f"argument part_id {part_id} of {num_parts}: parts are counted from 0 to {num_parts - 1}")


def listed(names: list[str], most: int = 10) -> str:
    """Names in a line of a message; of many, the first and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def first_of(entries: Sequence[str], most: int) -> list[str]:
    """The first of many entries, and as a last one how many more there are."""
    return [*entries[:most], *([f"... and {len(entries) - most} more"] if len(entries) > most else [])]


def amount(number: int, thing: str) -> str:
    """ "1 case", "3 cases"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def is_text(name: str) -> bool:
    """Whether a name of the file system is valid text; Python keeps bytes of others as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def is_blank(name: str) -> bool:
    """Whether a name shows nothing: it is empty, of spaces, or of letters that have no picture."""
    return not any(letter.isprintable() and not letter.isspace() for letter in name)


def has_control(name: str) -> bool:
    """Whether a name holds letters that act on a terminal in place of being seen; spaces and ends of lines do not count."""
    return any(category(letter) == "Cc" and not letter.isspace() for letter in name)


def shortened(name: str, most: int = _MOST_LETTERS) -> str:
    """A name that somebody else wrote into a file, quoted: in one line, no longer than a line takes, no letter that acts."""
    return repr(name if len(name) <= most else f"{name[:most]}... ({len(name)} letters)")


def by_reason(told: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Each reason of (case, reason) with its cases, in the order of the first of them.

    Reasons are equal too where they differ in a path by the case's name only; the first case's then stands for them.
    """
    groups: dict[str, dict[str, str]] = {}
    for case, reason in told:
        key = re.sub(rf"(?<=[/\\]){re.escape(case)}(?![^\W_])", "<case>", reason)
        groups.setdefault(key, {})[case] = reason
    return [
        (first + (" (likewise the others)" if others - {first} else ""), list(reasons))
        for reasons in groups.values()
        for first, others in [(next(iter(reasons.values())), set(reasons.values()))]
    ]
