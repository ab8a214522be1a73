"""Files that are there as a whole or not at all: written beside, flushed to the disk, then renamed.

Every file and folder that we leave behind is written by `written_beside`. What a killed process left is told by a lock
that died with it, and is cleared away by the next one that writes in the same folder.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

BESIDE = ".cdpd_tmp_"  # begins the name of every folder in which something is being written
_LOCK = "lock"


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path of this name in a new folder beside; what is written there is moved into place on success, else removed.

    The name stays, because writers go by its ending and name further files after it (the spacing of a TIFF): all files that
    were written are moved, `path` itself last. A folder takes the place of the one that is there. Several processes, also
    of several machines, may write the same path at a time; the last one stays.

    Args:
        path: A file or a folder to be; its parent is there.
    """
    folder, lock = _new_folder(path.absolute().parent)
    try:
        made = folder / "made"
        made.mkdir()
        yield made / path.name
        written = sorted(made.iterdir(), key=lambda file: file.name == path.name)  # path last: it says that all is there
        for file in written:
            _flush(file)
        for number, file in enumerate(written):
            target = path.with_name(file.name)
            if file.is_dir() and target.exists():
                os.replace(target, folder / f"replaced_{number}")
            os.replace(file, target)
        _flush_entry(path.absolute().parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def write_text(path: Path, text: str) -> None:
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON with the keys in their order."""
    write_text(path, json.dumps(content, indent=4))


def read_json(path: Path) -> Any:
    """Content of a JSON file, None if there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Clear away what processes that are gone were writing in a folder; what is being written stays."""
    for left in folder.glob(f"{BESIDE}*"):
        lock = FileLock(left / _LOCK)
        if not (left / _LOCK).exists():
            continue  # made this very moment
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        except (Timeout, OSError, NotImplementedError):
            continue  # somebody is writing there, or it is not ours to remove


def _new_folder(parent: Path) -> tuple[Path, FileLock]:
    """A folder of its own for one thing to write, and the lock that tells that its process lives."""
    _clear_once(parent)
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=BESIDE, dir=parent))
        except OSError as error:  # of the folder that the caller knows, not of a name that was never there
            raise OSError(error.errno, error.strerror, str(parent)) from error
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:  # another process took it for a leftover between these two lines
            continue
        except NotImplementedError:  # a file system without locks: nobody clears away there
            (folder / _LOCK).unlink(missing_ok=True)
        return folder, lock


@lru_cache(maxsize=1024)
def _clear_once(parent: Path) -> None:
    remove_leftovers(parent)


def _flush(path: Path) -> None:
    """Have what was written on the disk before it gets its name."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())


def _flush_entry(folder: Path) -> None:
    """Have the new name on the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that flushes no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
