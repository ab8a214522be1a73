"""Entry point of `cdpd`: finds the command, runs it, turns user mistakes into one line.

args.flags says how the command spells the library's arguments (flags.py).
"""

import argparse
import difflib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from nnunetv2_cdpd.cli.commands import COMMANDS, module_of, overview_parser, parser_of
from nnunetv2_cdpd.cli.flags import flags_of, with_flags
from nnunetv2_cdpd.cli.terminal import quiet, without_library_warnings
from nnunetv2_cdpd.errors import UserError, is_blank, is_text, one_line
from nnunetv2_cdpd.jobs import remove_scratch
from nnunetv2_cdpd.link import ensure_linked

_PROCESSES = {"nnUNet_def_n_proc": 1, "nnUNet_n_proc_DA": 0}  # nnU-Net's variables that hold a number, and the least of each


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cdpd` with the given arguments (default: those of the process).

    Returns:
        Exit code: 0 done, 1 a mistake that the user can mend, 130 interrupted.

    Raises:
        SystemExit: From argparse: after -h and --version (0), for arguments that a command does not know (2).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file name that the terminal has no letters for
    flags: dict[str, str] = {}  # of the command, once it is known
    try:
        return _run(argv, flags)
    except UserError as error:
        if os.environ.get("CDPD_DEBUG"):
            raise
        print(f"cdpd: error: {with_flags(str(error) or one_line(error), flags)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cdpd: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        if os.environ.get("CDPD_DEBUG"):
            raise
        print(f"cdpd: error: {one_line(error)}", file=sys.stderr)
        return 1
    except OSError as error:  # read-only, full, gone, or no folder at all: where it happens is up to the machine
        if error.errno is None or os.environ.get("CDPD_DEBUG"):
            raise
        print(f"cdpd: error: {_of_system(error)}", file=sys.stderr)
        return 1


def _of_system(error: OSError) -> str:
    """What the system refused, and the way out, which for a file that is not there is another than for a full disk."""
    place = "" if error.filename is None else f"{error.filename}: "
    if isinstance(error, FileNotFoundError):
        return f"{place}no such file or folder; give another, or make it first"
    return f"{place}{error.strerror}; choose another place or mend this one"


def _run(argv: list[str], flags: dict[str, str]) -> int:
    if not argv or argv[0].startswith("-"):
        overview_parser().parse_args(argv or ["--help"])  # exits: help, version or a complaint
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `cdpd {close[0]}`?" if close else f"choose from {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}; {hint}")

    _check_given(rest)
    _check_environment(rest)
    command, parser = COMMANDS[name], parser_of(name)
    flags.update(flags_of(parser), **getattr(module_of(name), "NNUNET_FLAGS", {}))
    args = argparse.Namespace(flags=flags)
    if command.takes_any_argument:
        args.rest = parser.parse_known_args(rest, args)[1]
    else:
        parser.parse_args(rest, args)
    remove_scratch()
    with without_library_warnings(), quiet() if getattr(args, "quiet", False) else nullcontext():
        if command.links:
            ensure_linked()
        return module_of(name).run(args) or 0


def _check_given(arguments: Sequence[str]) -> None:
    """Raise UserError for a value that is blank: an unset variable of the shell, which as a path would be the working folder."""
    for before, argument in zip(("", *arguments), arguments):
        flag, is_joined, value = argument.partition("=") if argument.startswith("-") else (before, "", argument)
        if is_blank(value if is_joined else argument):
            where = f"{flag} " if flag.startswith("-") else ""
            raise UserError(
                f"{where}{value!r}: is empty, as an unset variable is; give a value{f', or leave {flag} out' if where else ''}"
            )


def _check_environment(arguments: Sequence[str]) -> None:
    """Raise UserError for what would end a process before any of our code can say why."""
    for variable, least in _PROCESSES.items():
        value = os.environ.get(variable)
        if value is not None and not (value.strip().isascii() and value.strip().isdigit() and int(value) >= least):
            raise UserError(f"{variable}={value}: a number of nnU-Net's processes; give {least} or more, or unset it")
    folders = {f"{name}={value}": value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    for shown, value in {**dict(zip(arguments, arguments)), **folders}.items():
        if not is_text(value):
            raise UserError(f"{shown!a}: holds bytes that are no UTF-8, which the readers of images cannot take; rename it")


if __name__ == "__main__":
    sys.exit(main())
