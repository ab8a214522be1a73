"""Entry point of `cdpd`: finds the command's module, runs it, turns user mistakes into one line.

A command's module has DESCRIPTION, add_arguments(parser) and run(args) -> exit code or None; one that hands arguments on to
nnU-Net may have NNUNET_FLAGS, those that messages of ours mean. The module is imported only when the command is run:
`cdpd --help` needs neither torch nor nnU-Net. args.flags says how the command spells the library's arguments (flags.py).
"""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.cli.flags import flags_of, with_flags
from nnunetv2_cdpd.errors import UserError, one_line
from nnunetv2_cdpd.link import ensure_linked


@dataclass(frozen=True)
class Command:
    """A row of the table of commands.

    links: The command leads on to nnU-Net's own, which must find our classes by then.
    takes_any_argument: The command hands what it does not know on to nnU-Net, as args.rest.
    """

    help: str
    links: bool = False
    takes_any_argument: bool = False


COMMANDS = {
    "link": Command("let nnU-Net's commands find CDPDNet's trainers and planners"),
    "doctor": Command("show what works here and how to mend what does not"),  # links too, as one of its checks
    "demo": Command("plan, train, predict and evaluate on data made on the spot", links=True),
    "labels": Command("show what each source's labels say about each class, and check them"),
    "audit": Command("check datasets, find the same scan in two of them"),
    "sources": Command("the public datasets that can be converted, and how to get them"),
    "convert": Command("a public dataset, or your own, as an nnU-Net raw dataset", links=True),
    "merge": Command("join partially labelled datasets into one", links=True),
    "plan": Command("nnUNetv2_plan_experiment, where nnU-Net cannot be linked", takes_any_argument=True),
    "predict": Command("predict images: all classes or some, in little memory"),
    "train": Command("nnUNetv2_train, also under torchrun and on several nodes", takes_any_argument=True),
    "accumulate": Command("nnUNetv2_accumulate_crossval_results on what each source annotates", takes_any_argument=True),
    "find-best": Command("nnUNetv2_find_best_configuration on what each source annotates", takes_any_argument=True),
    "embed": Command("make or show the text embeddings of a dataset's prompts"),
    "evaluate": Command("score predictions on what each source annotates"),
    "clean": Command("clean predictions by what is known of the anatomy"),
    "import-official": Command("the released CDPDNet as an nnU-Net model folder", links=True),
    "report": Command("scores, pictures and volumes as one HTML page"),
}


def module_of(command: str) -> ModuleType:
    """The module that a command's name says; importing it takes neither torch nor nnU-Net."""
    return importlib.import_module(f"nnunetv2_cdpd.cli.{command.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cdpd` with the given arguments (default: those of the process).

    Returns:
        Exit code: 0 done, 1 a mistake that the user can mend, 130 interrupted.

    Raises:
        SystemExit: From argparse: after -h and --version (0), for arguments that a command does not know (2).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
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
        _overview().parse_args(argv or ["--help"])  # exits: help, version or a complaint
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `cdpd {close[0]}`?" if close else f"choose from {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}; {hint}")

    command = COMMANDS[name]
    module = module_of(name)
    parser = argparse.ArgumentParser(
        f"cdpd {name}",
        description=module.DESCRIPTION.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=not command.takes_any_argument,
    )
    module.add_arguments(parser)
    flags.update(flags_of(parser), **getattr(module, "NNUNET_FLAGS", {}))
    args = argparse.Namespace(flags=flags)
    if command.takes_any_argument:
        args.rest = parser.parse_known_args(rest, args)[1]
    else:
        parser.parse_args(rest, args)
    if command.links:
        ensure_linked()
    return module.run(args) or 0


def _overview() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "cdpd",
        usage="cdpd COMMAND ...",
        description="CDPDNet for nnU-Net v2: one segmentation network from many partially labelled datasets.",
        epilog=f"commands:\n{table}\n\n`cdpd COMMAND -h` explains a command. CDPD_DEBUG=1 shows tracebacks.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nnunetv2-cdpd {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
