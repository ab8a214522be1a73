"""Options that several commands have, each described once: nnU-Net's spelling first, the library's name for it as `dest`.

A place that a command takes by position can be given by nnU-Net's flag as well.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

OUTPUT = ("-o", "--out", "--output")
DATASET_HELP = "id, name or folder of a raw dataset, or a dataset.json"
OptionGroup = argparse._ActionsContainer  # a parser, or a group of its options


def add_output(
    parser: OptionGroup,
    what: str,
    *,
    dest: str = "output",
    metavar: str = "FOLDER",
    default: Path | None = None,
    required: bool = False,
) -> None:
    """Where the results go."""
    parser.add_argument(*OUTPUT, type=Path, dest=dest, metavar=metavar, default=default, required=required, help=what)


def add_dataset_place(parser: argparse.ArgumentParser, what: str, *, dest: str = "dataset", nargs: str | None = None) -> None:
    """Datasets that are there, by position or -d."""
    add_place(parser, ("-d",), dest, what, metavar="DATASET", nargs=nargs, type=str)


def add_place(
    parser: argparse.ArgumentParser,
    flags: Sequence[str],
    dest: str,
    what: str,
    *,
    metavar: str,
    nargs: str | None = None,
    type: Callable[[str], Any] = Path,
) -> None:
    """What is given by position, or by flags, the first of them nnU-Net's."""
    both: dict[str, Any] = {"type": type, "default": None if nargs == "?" else argparse.SUPPRESS, "metavar": metavar}
    place = parser.add_argument(dest, nargs=nargs, help=f"{what}; or {flags[0]} {metavar}", **both)
    many = "+" if nargs == "+" else None
    parser.add_argument(*flags, action=_InPlaceOf, place=place, dest=dest, nargs=many, help=argparse.SUPPRESS, **both)


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


class ListInstead(argparse.Action):
    """A flag with which a command only tells something, and needs nothing that it works on."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, help=help)

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        setattr(namespace, self.dest, True)
        for action in parser._actions:  # what is one of several stays: which model
            action.required = False


def by_position(arguments: Sequence[str], *flags: str) -> list[str]:
    """The arguments of a command of nnU-Net, with its positions in their places where flags said them (`-d 400 -c 2d -f 0`).

    Args:
        flags: Of the positions, in their order; ones that nnU-Net's command does not have itself.
    """
    given: dict[str, str] = {}
    rest = list(arguments)
    for flag in flags:
        if flag in rest[:-1]:
            place = rest.index(flag)
            given[flag] = rest.pop(place + 1)
            rest.pop(place)
    first: list[str] = []
    for flag in flags if given else ():
        if flag in given:
            first.append(given.pop(flag))
        elif rest and not rest[0].startswith("-"):
            first.append(rest.pop(0))
        else:  # it may come after other flags
            break
    return [*first, *rest, *given.values()]


def add_parts(parser: OptionGroup) -> None:
    """A share of the cases, for several jobs that work on one folder."""
    parser.add_argument("-num_parts", "--num-parts", type=int, default=1, metavar="N", help="share the cases among N calls")
    parser.add_argument("-part_id", "--part-id", type=int, default=0, metavar="I", help="this one of them, 0 ... N - 1")


def add_processes(parser: OptionGroup, told: str = "default: nnU-Net's") -> None:
    parser.add_argument("-np", "--np", type=int, dest="num_processes", metavar="N", help=f"number of processes ({told})")


def add_device(parser: OptionGroup) -> None:
    parser.add_argument(
        "-device",
        "--device",
        choices=("cuda", "cpu", "mps"),
        help="where to compute (default: cuda where there is a GPU, else cpu)",
    )


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that the user gave; the others keep the defaults of the function that takes them."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
