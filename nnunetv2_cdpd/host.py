"""Replace a name inside an nnU-Net module for the length of one call.

A few of nnU-Net's methods build what they use from names of their module (the data loader, the final metrics) and offer
no hook for it. Replacing the name while the host's own method runs keeps that method the host's; a copy of it would rot
with nnU-Net's next release. Should nnU-Net rename one of them, entering fails at once instead of doing nothing.
"""

from contextlib import contextmanager
from types import ModuleType
from typing import Any, Iterator


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
