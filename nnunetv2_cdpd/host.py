"""Replace a name inside an nnU-Net module, or the arguments that its commands read, for the length of one call.

A few of nnU-Net's methods build what they use from names of their module (the data loader, the final metrics) and offer
no hook for it. Replacing the name while the host's own method runs keeps that method the host's; a copy of it would rot
with nnU-Net's next release. Should nnU-Net rename one of them, entering fails at once instead of doing nothing.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def substituted(module: ModuleType, **replacements: Any) -> Iterator[None]:
    """Set attributes of a module and put the originals back on leaving.

    Raises:
        AttributeError: The module has no such name.
    """
    originals = {name: getattr(module, name) for name in replacements}
    try:
        for name, replacement in replacements.items():
            setattr(module, name, replacement)
        yield
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


@contextmanager
def lent_arguments(command: str, arguments: Sequence[str], **defaults: str) -> Iterator[None]:
    """sys.argv, from which nnU-Net's entry points read, as if this command had been called.

    Args:
        command: Shown in nnU-Net's usage and errors.
        defaults: Options (without the dash) to give where the arguments do not.
    """
    given = {argument.split("=")[0] for argument in arguments}
    added = [text for name, value in defaults.items() if f"-{name}" not in given for text in (f"-{name}", value)]
    process_arguments = sys.argv
    sys.argv = [command, *arguments, *added]
    try:
        yield
    finally:
        sys.argv = process_arguments
