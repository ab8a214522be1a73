"""Options that several commands have, each described once: nnU-Net's spelling first, the library's name for it as `dest`.

A place that a command takes by position can be given by nnU-Net's flag as well.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.cli.flags import with_flags

DEVICES = ("cuda", "cpu", "mps")
Options = argparse._ActionsContainer  # a parser, or a group of its options


def add_input(parser: Options, what: str, *, dest: str = "input", **rest: Any) -> None:
    parser.add_argument("-i", type=Path, dest=dest, help=what, **rest)


def add_output(
    parser: Options, what: str, *, metavar: str = "FOLDER", default: Path | None = None, required: bool = False
) -> None:
    """Where the results go, as args.output."""
    told = what if default is None else f"{what} (default: %(default)s)"
    parser.add_argument(
        "-o", "--out", "--output", type=Path, dest="output", metavar=metavar, default=default, required=required, help=told
    )


def add_dataset(parser: Options, what: str, *, dest: str = "dataset", **rest: Any) -> None:
    """One dataset that is there, by -d."""
    parser.add_argument("-d", "--dataset", dest=dest, metavar="DATASET", help=what, **rest)


def add_dataset_place(parser: argparse.ArgumentParser, what: str, *, dest: str = "dataset", nargs: str | None = None) -> None:
    """Datasets that are there, by position or -d."""
    add_place(parser, "-d", dest, what, metavar="DATASET", nargs=nargs, type=str)


def add_place(
    parser: argparse.ArgumentParser,
    flag: str,
    dest: str,
    what: str,
    *,
    metavar: str,
    nargs: str | None = None,
    type: Callable[[str], Any] = Path,
) -> None:
    """What is given by position, or by a flag of nnU-Net's."""
    default = None if nargs == "?" else argparse.SUPPRESS
    place = parser.add_argument(
        dest, nargs=nargs, type=type, default=default, metavar=metavar, help=f"{what}; {flag} {metavar} is the same"
    )
    many = "+" if nargs == "+" else None
    parser.add_argument(
        flag, action=_InPlaceOf, place=place, dest=dest, nargs=many, type=type, default=default, help=argparse.SUPPRESS
    )


class _InPlaceOf(argparse.Action):
    """An option that says what a positional argument would; where it is given, the positional one is not asked for."""

    def __init__(self, *args: Any, place: argparse.Action, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.place = place

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if getattr(namespace, self.dest, None) is not None:
            parser.error(f"argument {option_string}: {self.place.metavar} is given twice")
        setattr(namespace, self.dest, values)
        self.place.required, self.place.nargs, self.place.default = False, argparse.SUPPRESS, argparse.SUPPRESS


def add_spec(parser: Options, what: str) -> None:
    parser.add_argument("--spec", type=Path, metavar="FILE", help=what)


def add_parts(parser: Options) -> None:
    """A share of the cases, for several jobs that work on one folder."""
    parser.add_argument("-num_parts", "--num-parts", type=int, default=1, metavar="N", help="share the cases among N calls")
    parser.add_argument("-part_id", "--part-id", type=int, default=0, metavar="I", help="this one of them, 0 ... N - 1")


def add_processes(parser: Options, told: str = "default: nnU-Net's, at most one per core", default: int | None = None) -> None:
    parser.add_argument(
        "-np", "--np", type=int, dest="num_processes", metavar="N", default=default, help=f"number of processes ({told})"
    )


def add_device(parser: Options) -> None:
    parser.add_argument("-device", "--device", choices=DEVICES, help="default: cuda where there is a GPU, else cpu")


def reporter(flags: Mapping[str, str]) -> Callable[[str], None]:
    """Prints the lines of a library call, with the command's flags in place of the names of arguments."""
    return lambda line: print(with_flags(line, flags))


def add_pictures(parser: Options, what: str) -> None:
    parser.add_argument("--pictures", type=int, dest="num_pictures", metavar="N", help=what)
