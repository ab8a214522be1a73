"""cdpd completion: a script with which a shell completes commands and flags."""

import argparse

from nnunetv2_cdpd.cli.commands import COMMANDS, complete_parser
from nnunetv2_cdpd.errors import UserError

DESCRIPTION = """
Print a script that lets the shell complete cdpd's commands, flags and files. It is made by shtab, which is installed by
pip install shtab, or with the plugin by pip install 'nnunetv2-cdpd[completion]'.

For bash, put the first example into ~/.bashrc; zsh reads the second from a folder of its $fpath, tcsh the third from ~/.tcshrc.
"""
EXAMPLES = (
    'eval "$(cdpd completion bash)"',
    "cdpd completion zsh > ~/.zsh/completions/_cdpd",
    "cdpd completion tcsh > ~/.cdpd.tcsh                      # and: source ~/.cdpd.tcsh",
)
SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def run(args: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise UserError("completion needs shtab, which is not installed; run: pip install shtab") from error
    parser = argparse.ArgumentParser("cdpd")
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        of_command = commands.add_parser(name, help=command.help)
        complete_parser(of_command, name)
        for action in of_command._actions:
            if action.nargs != 0 and not action.choices:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, args.shell))
