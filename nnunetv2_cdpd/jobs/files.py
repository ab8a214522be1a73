"""Files that are there as a whole or not at all: written beside, flushed to the disk, then renamed.

Every file and folder that we leave behind is written by `written_beside`. What a killed process left is told by a lock
that died with it, and is cleared away by the next one that writes in the same folder: the lock is there before and after all
that it stands for.
"""

import errno
import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from nnunetv2_cdpd.errors import UserError

BESIDE = ".cdpd_tmp_"  # begins the name of every folder in which something is being written, and of its lock
_LOCK = ".lock"
SCRATCH = "scratch_"  # goes on in the name of a folder whose files nobody keeps
_TRIES = 1000  # to make a lock whose name is new; another process can only take it for a leftover in a moment of each
_FULL = (errno.ENOSPC, errno.EDQUOT)  # of these the system names no file
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)  # of network file systems; ENOSYS is filelock's


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path of this name in a new folder beside; what is written there is moved into place on success, else removed.

    The name stays, because writers go by its ending and name further files after it (the spacing of a TIFF): all files that
    were written are moved, `path` itself last. A folder takes the place of the one that is there. Several processes, also
    of several machines, may write the same path at a time; the last one stays.

    Args:
        path: A file or a folder to be; its parent is there.
    """
    folder, lock = new_folder(path.absolute().parent)
    try:
        made = folder / "made"
        made.mkdir()
        yield made / path.name
        written = sorted(made.iterdir(), key=lambda file: file.name == path.name)  # path last: it says that all is there
        for file in written:
            _flush(file)
        for number, file in enumerate(written):
            target = path.with_name(file.name)
            if target.is_dir() and not file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
            if file.is_dir() and target.exists():
                os.replace(target, folder / f"replaced_{number}")
            os.replace(file, target)
        _flush_entry(path.absolute().parent)
    except OSError as error:  # of the file that the caller knows, not of a name that is gone with it
        places = [place for place in (error.filename, error.filename2) if place]
        if any(Path(place).is_relative_to(folder) for place in places) or (not places and error.errno in _FULL):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    except UserError as error:
        raise UserError(str(error).replace(str(folder / "made"), str(path.parent))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        give_up(lock)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; a name of the file system that is none is written as its escapes."""
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write JSON with the keys in their order."""
    write_text(path, json.dumps(content, indent=4))


def read_json(path: Path) -> Any:
    """Content of a JSON file, None if there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def real_path(path: Path) -> Path:
    """Where a path leads, absolute; one of links in a circle stays, to be told when it is opened (`Path.resolve` raises)."""
    return Path(os.path.realpath(path))


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Clear away what processes that are gone were writing in a folder; what is being written stays."""
    remove_left(path for path in held_locks(folder) if not path.name.startswith(BESIDE + SCRATCH))


def remove_left(held: Iterable[Path]) -> None:
    """Clear away what stands beside those locks whose processes are gone."""
    for path in held:
        if (lock := _if_left(path)) is not None:
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            give_up(lock)


def held_locks(folder: Path, of: str = "") -> list[Path]:
    """Files of the locks in a folder whose names begin with `of`, also those of processes that are gone."""
    return sorted(folder.glob(f"{BESIDE}{glob.escape(of)}*{_LOCK}"))


def new_lock(folder: Path, name: str = "") -> BaseFileLock:
    """A lock of its own in a folder, which tells that its process lives, for as long as it is held.

    The system's own lock ends with its process, on one machine and, where the network file system passes locks on, on all of
    them; so nothing that a killed process left is ever in the way. Where a file system has no locks, `filelock` keeps the
    process and its machine in the file instead, and takes the lock of a process that is gone from the same machine.

    Raises:
        OSError: It cannot be made there; it names the folder.
    """
    if not folder.is_dir():  # the lock would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    for _ in range(_TRIES):
        path = folder / f"{BESIDE}{name}{secrets.token_hex(6)}{_LOCK}"
        try:
            lock = _acquired(path, is_new=True)
        except Timeout:
            continue
        except OSError as error:  # of the folder that the caller knows, not of a name that was never there
            with suppress(OSError):
                path.unlink()
            raise OSError(error.errno, error.strerror, str(folder)) from error
        if path.exists():  # else another process took it for a leftover between making and locking it
            return lock
        lock.release()
    raise OSError(errno.EACCES, "no file can be made there", str(folder))  # as in /proc, where a lock is never had


def is_held(path: Path) -> bool:
    """Whether the process that made a lock lives; the lock of one that is gone is removed."""
    if not path.exists():
        return False
    lock = _if_left(path)
    if lock is not None:
        give_up(lock)
    return lock is None


def _if_left(path: Path) -> BaseFileLock | None:
    """The lock of a process that is gone, now held; None: it lives, or it is not ours to take."""
    try:
        return _acquired(path)
    except (Timeout, OSError):
        return None


def _acquired(path: Path, is_new: bool = False) -> BaseFileLock:
    """A lock, held; raises Timeout if another process holds it."""
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
        if is_new:
            path.unlink(missing_ok=True)  # made by the attempt
        lock = SoftFileLock(path)
        lock.acquire(timeout=0)
    return lock


def new_folder(parent: Path, name: str = "", mode: int = 0o777) -> tuple[Path, BaseFileLock]:
    """A folder of its own for one thing to write, and the lock that tells that its process lives."""
    if parent.is_dir():
        _clear_once(parent)
    lock = new_lock(parent, name)
    folder = Path(lock.lock_file).with_suffix("")
    try:
        folder.mkdir(mode)
    except OSError as error:
        give_up(lock)
        raise OSError(error.errno, error.strerror, str(parent)) from error
    return folder, lock


def give_up(lock: BaseFileLock) -> None:
    """Remove the file of a lock while it is held, where the system allows that, and release it."""
    for step in (lambda: os.unlink(lock.lock_file), lock.release, lambda: os.unlink(lock.lock_file)):
        with suppress(OSError):
            step()


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
