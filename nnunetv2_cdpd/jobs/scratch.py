"""Scratch folders: files that nobody keeps, removed at the end, or after a kill by the next command."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nnunetv2_cdpd.jobs.files import SCRATCH, give_up, held_locks, new_folder, remove_left


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder among the system's temporary ones (TMPDIR), for this user's eyes alone; it is removed at the end.

    Args:
        name: What it is for, a part of its name.
    """
    folder, lock = new_folder(Path(tempfile.gettempdir()), f"{SCRATCH}{name}_", mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        give_up(lock)


def remove_scratch() -> None:
    """Clear away scratch folders of this user whose processes are gone."""
    with suppress(OSError):  # no temporary folder at all: told when one is needed
        remove_left(filter(_is_mine, held_locks(Path(tempfile.gettempdir()), SCRATCH)))


def _is_mine(path: Path) -> bool:
    """Whether a file belongs to the user who runs this; on Windows the folder of temporary files does."""
    try:
        return os.name == "nt" or path.lstat().st_uid == os.getuid()
    except OSError:  # it is gone
        return False
