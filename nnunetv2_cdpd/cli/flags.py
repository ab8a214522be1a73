"""Flags: `argument NAME` in the library's words becomes the flag of the command that runs.

The library knows no command line: where a message means an argument of a function, it says `argument dataset_id`. Each command
keeps its options under the names of the library's arguments (their `dest`), so the flag can stand in its place. A path of the
user may hold the same words, and stays.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping

from nnunetv2_cdpd.cli.terminal import error_stream
from nnunetv2_cdpd.errors import by_reason, listed

_NAMED_CASES = 3  # of those that failed for one reason
_ARGUMENT = re.compile(r"(?<![/\\\w-])argument ([A-Za-z_]\w*)(?![/\\\w-]|\.\w)")  # not where it is part of a path


def flags_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Name of an argument -> how this command spells it: the first spelling of an option, a positional's metavar.

    Where several options set one argument, the one that sets it to something other than False has its name.
    """
    actions = sorted(parser._actions, key=lambda action: getattr(action, "const", None) is False)
    flags: dict[str, str] = {}
    for action in actions:
        if action.help != argparse.SUPPRESS:
            flags.setdefault(action.dest, (action.option_strings or [str(action.metavar or action.dest)])[0])
    return flags


def with_flags(text: str, flags: Mapping[str, str]) -> str:
    """The text with a flag in place of each `argument NAME` that the command has; others stay, and what the user wrote."""
    own = sorted({word for word in (*sys.argv[1:], os.path.abspath(".")) if _ARGUMENT.search(word)}, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, own))})", text) if own else [text]
    return "".join(part if part in own else _ARGUMENT.sub(lambda found: flags.get(found[1], found[0]), part) for part in parts)


def reporter(flags: Mapping[str, str]) -> Callable[[str], None]:
    """Prints lines of the library, with the command's flags."""
    return lambda line: print(with_flags(line, flags))


def report_failed(failed: Iterable[tuple[str, str]], flags: Mapping[str, str]) -> int:
    """Tell on stderr which cases failed (case, why), a line for each reason; the exit code of a command that did all it could."""
    code = 0
    for reason, cases in by_reason(failed):
        named = repr(cases[0]) if len(cases) == 1 else listed(cases, most=_NAMED_CASES)
        print(f"cdpd: error: case {named}: {with_flags(reason, flags)}", file=error_stream())
        code = 1
    return code
