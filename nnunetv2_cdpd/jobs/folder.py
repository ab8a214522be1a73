"""One job at a time for an output folder: `output_folder` makes it, holds it, and clears away what killed jobs left in it.

A job's lock is a file of its own in the folder, whose name says which process of which machine holds it and which part of the
work it does. Files that a command writes by themselves, such as a page, need none: the last one written stays, whole.
"""

import itertools
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import BESIDE, give_up, held_locks, is_held, new_lock, remove_leftovers

_JOB = "job~"
_NAME = re.compile(rf"{re.escape(BESIDE + _JOB)}(?P<host>[^~]*)~(?P<pid>\d+)~(?P<part>\d+)of(?P<parts>\d+)~.*")
_TRIES = 5  # two that begin at once see each other, and both step back for a moment


@dataclass(frozen=True)
class _Holder:
    """A process that has a folder, as the name of its lock says."""

    host: str
    pid: str
    part: str
    parts: str

    def shares_with(self, part_id: int, num_parts: int) -> bool:
        """Whether it does another part of the same work, shared out alike: else both may do the same case."""
        return num_parts > 1 and int(self.parts) == num_parts and int(self.part) != part_id


@contextmanager
def output_folder(folder: Path, part_id: int = 0, num_parts: int = 1) -> Iterator[None]:
    """Have an output folder for the length of a job; it is made, and taken away again where nothing came into it.

    Args:
        part_id: Of this job, where several jobs share the folder.
        num_parts: How many share it.

    Raises:
        UserError: Another process is at work there, which is named; or there is a file of this name.
        OSError: The folder cannot be made or written to.
    """
    made = _make(folder)
    try:
        lock = _claim(folder, part_id, num_parts)
        try:
            for place in (folder, *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())):
                remove_leftovers(place)
            yield
        finally:
            give_up(lock)
    finally:
        for path in made:
            with suppress(OSError):  # something is in it
                path.rmdir()


def _claim(folder: Path, part_id: int, num_parts: int) -> BaseFileLock:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    name = f"{_JOB}{host}~{os.getpid()}~{part_id}of{num_parts}~"
    for tried in itertools.count(1):
        lock = new_lock(folder, name)
        others = [path for path in held_locks(folder, _JOB) if path != Path(lock.lock_file)]
        holder = next((its for its in map(_holder_of, others) if its and not its.shares_with(part_id, num_parts)), None)
        if holder is None:
            break
        give_up(lock)
        if tried == _TRIES:
            raise UserError(
                f"{folder}: process {holder.pid} on {holder.host} is writing there; wait until it has ended, or use another "
                "folder"
            )
        time.sleep(random.uniform(0.02, 0.3))
    return lock


def _holder_of(path: Path) -> _Holder | None:
    """Who holds a lock; None: nobody any more."""
    named = _NAME.fullmatch(path.name)
    return _Holder(**named.groupdict()) if named and is_held(path) else None


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, the innermost first."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is no folder; move it, or use another name")
    folder.mkdir(parents=True, exist_ok=True)
    return made
