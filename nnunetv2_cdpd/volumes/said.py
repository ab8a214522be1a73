"""Said: what a reader prints, heard in its own thread only.

`contextlib.redirect_stdout` exchanges stdout for all threads: of two that overlap, the one that ends last puts back what the
other one had put there, and everything that is printed from then on is lost. Predictions read and export in threads.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any

_exchanging = Lock()


class _ByThread:
    """Stands in for stdout: what a thread that is heard prints goes to its text, all else to stdout."""

    def __init__(self) -> None:
        self.stdout: Any = None
        self.heard: dict[int, io.StringIO] = {}

    def write(self, text: str) -> int:
        return self.heard.get(get_ident(), self.stdout).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stdout, name)


# One for ever: `print` holds no reference to stdout (before Python 3.14; CPython's gh-130163), so a stand-in that goes while
# another thread prints takes the process with it.
_stand_in = _ByThread()


@contextmanager
def said_meanwhile() -> Iterator[io.StringIO]:
    """What this thread prints meanwhile, in place of its being shown."""
    said, thread = io.StringIO(), get_ident()
    with _exchanging:
        if sys.stdout is not _stand_in:
            _stand_in.stdout, sys.stdout = sys.stdout, _stand_in
        _stand_in.heard[thread] = said
    try:
        yield said
    finally:
        with _exchanging:
            del _stand_in.heard[thread]
            if not _stand_in.heard and sys.stdout is _stand_in:
                sys.stdout = _stand_in.stdout
