"""Terminal: what a command shows beside its answer: no warnings of libraries that nobody can act on, with --quiet only errors.

What is set here also holds in the processes that a command starts.
"""

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple, TextIO


class LibraryWarning(NamedTuple):
    """A warning of a library about its own code.

    begins: Of the message; without `:` and `,`, which separate in PYTHONWARNINGS.
    module: In which it arises.
    """

    category: type[Warning]
    begins: str
    module: str


LIBRARY_WARNINGS = (
    LibraryWarning(FutureWarning, "`torch.jit.interface` is deprecated", "torch.jit._script"),  # torchvision's use of torch
    LibraryWarning(FutureWarning, "`torch.nn.utils.weight_norm` is deprecated", "torch.nn.utils.weight_norm"),  # lightly's heads
    # Names and dates of patients as hospitals write them, which are carried over as they stand.
    LibraryWarning(UserWarning, "The value length", "pydicom.valuerep"),
    LibraryWarning(UserWarning, "The number of PN components", "pydicom.valuerep"),
    LibraryWarning(UserWarning, "Invalid value for VR", "pydicom.valuerep"),
    LibraryWarning(UserWarning, "The PN component length", "pydicom.valuerep"),
    LibraryWarning(UserWarning, "Unknown encoding", "pydicom.charset"),
)


@contextmanager
def without_library_warnings() -> Iterator[None]:
    """Leave LIBRARY_WARNINGS out, and nothing else; what the user sets by PYTHONWARNINGS or -W goes before."""
    given = os.environ.get("PYTHONWARNINGS")
    ours = [f"ignore:{row.begins}:{row.category.__name__}:{row.module}" for row in LIBRARY_WARNINGS]
    with _environment(PYTHONWARNINGS=",".join([*ours, *([given] if given else [])])), warnings.catch_warnings():
        for row in LIBRARY_WARNINGS:
            module = rf"{re.escape(row.module)}\Z"
            warnings.filterwarnings("ignore", re.escape(row.begins), row.category, module, append=True)
        yield


_errors: list[TextIO] = []  # where errors go while all else goes nowhere


def error_stream() -> TextIO:
    """Where a line about an error goes, with --quiet too."""
    return _errors[-1] if _errors else sys.stderr


@contextmanager
def quiet() -> Iterator[None]:
    """Errors only: what is printed goes nowhere, no progress is shown, no warning; so in all processes that are started.

    This process's own stderr goes nowhere as well, but for `error_stream`: bars of whatever library are drawn there.
    """
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(_environment(PYTHONWARNINGS="ignore", TQDM_DISABLE="1"))
        sys.stdout.flush()
        kept = os.dup(1)  # of which processes that are started get a copy
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 1)
        os.dup2(nowhere.fileno(), 1)
        _errors.append(sys.stderr)
        stack.callback(_errors.pop)
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        yield


def print_json(make: Callable[[], Any]) -> None:
    """Print what a function returns as JSON; what it, or an import of it, prints goes to stderr, so that stdout is JSON only."""
    with redirect_stdout(sys.stderr):
        content = make()
    print(json.dumps(content, indent=2))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables of this process, and of those that it starts, for the length of a call."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
