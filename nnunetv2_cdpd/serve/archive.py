"""Archive: a zip of a stranger, unpacked within limits, its names never used.

Looked at before anything is unpacked: how large its directory is, how many files it lists, how large they say they are. While
it is unpacked no file may become larger than it said.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.volumes.dicom import is_dicom

MOST_FILES = 20_000
_RATIO = 200  # a zip that unpacks to more than this many times its size is none of images
_FREE = 64 << 20  # bytes up to which any ratio is taken
_DIRECTORY = MOST_FILES * 512  # bytes: an entry is 46 and its name
_CHUNK = 1 << 20
_END, _LOCATOR, _END_64 = b"PK\5\6", b"PK\6\7", b"PK\6\6"
_LONGEST_END = 22 + 0xFFFF + 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


def check_archive(path: Path, unpacked_bytes: int) -> None:
    """Raise UserError for a zip that is damaged, encrypted or unpacks to more than `unpacked_bytes`."""
    with _opened(path, unpacked_bytes):
        pass


def unpack_slices(path: Path, folder: Path, unpacked_bytes: int) -> int:
    """Unpack the DICOM files of a zip as numbered files of one folder, in the order of the zip.

    Returns:
        How many other files there are.

    Raises:
        UserError: As `check_archive`, or a file is not what the zip's directory says of it.
    """
    others = 0
    with _opened(path, unpacked_bytes) as (archive, entries):
        for number, entry in enumerate(entries):
            target = folder / f"{number:05d}.dcm"
            _unpack(archive, entry, target)
            if not is_dicom(target):
                others += 1
                target.unlink()
    return others


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    left = entry.file_size
    try:
        with archive.open(entry) as packed, target.open("xb") as file:
            while chunk := packed.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise UserError("the zip holds a file that is larger than the zip says; make it anew")
                file.write(chunk)
    except _BROKEN as error:
        raise UserError(f"the zip is damaged ({reason(error)}); make it anew") from error


@contextmanager
def _opened(path: Path, unpacked_bytes: int) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    try:
        _check_directory(path)
        archive = zipfile.ZipFile(path)
    except _BROKEN as error:
        raise UserError(f"the zip is damaged ({reason(error)}); make it anew") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > MOST_FILES:
            raise UserError(f"the zip holds {len(entries):,} files, and {MOST_FILES:,} are taken; send one series only")
        total = sum(entry.file_size for entry in entries)
        if total > unpacked_bytes:
            raise UserError(f"the zip unpacks to {total:,} bytes, and {unpacked_bytes:,} are taken; send one series only")
        if total > max(_FREE, _RATIO * path.stat().st_size):
            raise UserError(f"the zip unpacks to {total:,} bytes, {_RATIO} times its own size and more; no images are packed so")
        if any(entry.flag_bits & 1 for entry in entries):
            raise UserError("the zip is encrypted; send one that is not")
        if any(entry.compress_type not in _METHODS for entry in entries):
            raise UserError("the zip is packed in a way that is not read here; use the usual one (deflate)")
        yield archive, entries


def _check_directory(path: Path) -> None:
    """Raise UserError for a directory that is too large to be read, as its end says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _LONGEST_END))
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + 22:
            raise zipfile.BadZipFile("its end is missing")
        lengths = [int.from_bytes(tail[at + 12 : at + 16], "little")]
        locator = tail[at - 20 : at] if at >= 20 else b""
        if locator.startswith(_LOCATOR):  # of a large zip; readers look before the locator or where it points to
            before = max(0, size - len(tail)) + at - 20 - 56
            for place in (before, int.from_bytes(locator[8:16], "little")):
                file.seek(min(max(0, place), size))
                record = file.read(56)
                if record.startswith(_END_64):
                    lengths.append(int.from_bytes(record[40:48], "little"))
        lengths = [length for length in lengths if length != 0xFFFFFFFF] or lengths  # which says: look in the other place
    if max(lengths) > _DIRECTORY:
        raise UserError(f"the zip lists more files than the {MOST_FILES:,} that are taken; send one series only")
