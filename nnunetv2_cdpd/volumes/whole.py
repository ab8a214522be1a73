"""Whole: whether a file holds all that its header promises. SimpleITK fills what is missing with zeros and says nothing.

Compressed voxels are read to their end, against the checksum that was written with them; of voxels as they are only the
length can be known. Pictures are read by Pillow and tifffile, which say where one ends early.
"""

import bz2
import gzip
import math
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import SimpleITK as sitk

from nnunetv2_cdpd.errors import UserError, reason

try:  # about three times as fast; not built for every machine
    from isal.igzip import open as _open_gzip
    from isal.isal_zlib import error as isal_error

    _DEFLATE_ERRORS: tuple[Any, ...] = (zlib.error, isal_error)
except ImportError:
    _open_gzip, _DEFLATE_ERRORS = gzip.open, (zlib.error,)

_CHUNK = 1 << 20  # bytes that are unpacked at a time
TRAILING = 64 << 20  # bytes after the last voxel that are still unpacked; a file that goes on may be made to go on for hours
_BROKEN = (OSError, EOFError, ValueError, *_DEFLATE_ERRORS)  # what unpacking raises
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_META_END = re.compile(rb"ElementDataFile *= *(\S+) *\r?\n")
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_LONGEST_HEADER = 1 << 16
_GIPL_HEADER = 256
_PICTURES = (".png", ".bmp", ".jpg", ".jpeg")
_TIFF = (".tif", ".tiff")


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, of a .gz file unpacked and checked as they come.

    Raises:
        UserError: It cannot be read, or is damaged.
    """
    with told_as_damaged(path), _open_gzip(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        while True:
            with told_as_damaged(path):
                chunk = file.read(_CHUNK)
            if not chunk:
                return
            yield chunk


def damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); get it again from where it came from")


@contextmanager
def told_as_damaged(path: Path) -> Iterator[None]:
    """What unpacking raises, as a UserError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except PermissionError as error:
        raise UserError(f"{path}: may not be read; change its permissions") from error
    except _BROKEN as error:
        raise damaged(path, reason(error)) from error


def check_file(path: Path) -> None:
    """Raise UserError unless a path is a file with an end; a pipe would be waited for."""
    if path.is_file():
        return
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode), "something else")
    except OSError as error:
        raise UserError(f"{path}: no such file; give a file, or take it out of its folder") from error
    raise UserError(f"{path}: is no file but {kind}; give a file, or take it out of its folder")


def check_whole(path: Path) -> sitk.ImageFileReader | None:
    """Check a file of a format other than NIfTI that SimpleITK reads.

    Returns:
        Its header; None of a picture or TIFF.

    Raises:
        UserError: It ends early, or its checksum is wrong.
    """
    if path.suffix.lower() in _PICTURES:
        _check_picture(path)
        return None
    header = _image_header(path)
    if path.suffix.lower() in _TIFF:
        _check_tiff(path, header)
        return None
    pixel = sitk.Image([1] * header.GetDimension(), header.GetPixelID(), max(1, header.GetNumberOfComponents()))
    size = pixel.GetSizeOfPixelComponent() * pixel.GetNumberOfComponentsPerPixel()
    size *= math.prod(header.GetSize())
    payload = _PAYLOADS.get(path.suffix.lower(), _inline)(path)
    if payload is None:  # in several files: SimpleITK says when one is short
        return header
    file, start, unpacked = payload
    with told_as_damaged(file):
        if unpacked is None:
            found = file.stat().st_size - start
        else:
            with file.open("rb") as packed:
                packed.seek(start)
                found = unpacked(packed, size + TRAILING)
    if found < size:
        raise damaged(file, f"{size - found} bytes are missing")
    return header


def text_header(path: Path) -> str:
    """The lines of a header that are text, NRRD's or MetaImage's."""
    return _head(path, _META_END if path.suffix.lower() in (".mha", ".mhd") else _NRRD_END)[0].decode(errors="replace")


def itk_reason(error: RuntimeError) -> str:
    """`reason` of an error of SimpleITK, without the places in its own sources."""
    return reason(RuntimeError(re.split(r"ERROR: ", str(error))[-1]))


def _image_header(path: Path) -> sitk.ImageFileReader:
    """A file's header as SimpleITK reads it.

    Raises:
        UserError: It is none.
    """
    check_file(path)
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(f"{path}: is no image that can be read; is it damaged? ({itk_reason(error)})") from error
    return header


def _check_picture(path: Path) -> None:
    from PIL import Image  # not where `portable` runs alone

    check_file(path)
    with told_as_damaged(path), Image.open(path) as picture:
        try:
            picture.load()
        except (SyntaxError, Image.DecompressionBombError) as error:  # Pillow's of a broken PNG; ValueErrors in disguise
            raise damaged(path, reason(error)) from error


def _check_tiff(path: Path, header: sitk.ImageFileReader) -> None:
    """Check that SimpleITK, which stops at the first page that it cannot find, finds as many voxels as there are."""
    import tifffile

    try:
        found = tifffile.imread(path).size
    except Exception as error:  # each packing has errors of its own
        raise damaged(path, reason(error)) from error
    voxels = math.prod(header.GetSize())
    if found not in (voxels, voxels * header.GetNumberOfComponents()):  # colours of a palette are one value in the file
        raise damaged(path, f"some of its pages are missing: {found} values, and SimpleITK finds {voxels} voxels")


# File that holds the voxels, where they begin, and what counts them while it unpacks them; None: they are stored as they are.
_Payload = tuple[Path, int, Callable[[IO[bytes], int], int] | None]


def _inline(path: Path) -> _Payload:
    return path, 0, None


def _of_gipl(path: Path) -> _Payload:
    return path, _GIPL_HEADER, None


def _of_meta(path: Path) -> _Payload | None:
    """MetaImage: voxels in the file or in another one, deflated or not."""
    head, end = _head(path, _META_END)
    if end is None:
        return _inline(path)
    place = end[1].decode(errors="replace")
    unpack = _inflated if re.search(rb"CompressedData *= *True", head, re.IGNORECASE) else None
    if place.upper() == "LOCAL":
        return path, end.end(), unpack
    return None if place.upper() == "LIST" or "%" in place else (path.with_name(place), 0, unpack)


def _of_nrrd(path: Path) -> _Payload | None:
    """NRRD: voxels in the file or in another one, packed or not."""
    head, end = _head(path, _NRRD_END)
    encoding = re.search(rb"^encoding: *(\S+)", head, re.MULTILINE | re.IGNORECASE)
    unpack = _UNPACKED.get(encoding[1].decode(errors="replace").lower(), _counted) if encoding else None
    if unpack is _counted:  # text
        return None
    detached = re.search(rb"^data ?file: *(.+?)\r?$", head, re.MULTILINE | re.IGNORECASE)
    if detached:
        place = detached[1].decode(errors="replace")
        return None if place.startswith("LIST") or "%" in place else (path.with_name(place), 0, unpack)
    return (path, end.end(), unpack) if end else _inline(path)


def _head(path: Path, end: re.Pattern[bytes]) -> tuple[bytes, re.Match[bytes] | None]:
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    found = end.search(start)
    return (start[: found.end()] if found else start), found


def _counted(unpacked: IO[bytes], most: int) -> int:
    count = 0
    while chunk := unpacked.read(_CHUNK):
        count += len(chunk)
        check_end(count, most)
    return count


def check_end(count: int, most: int) -> None:
    """Raise ValueError if there are more unpacked bytes than that."""
    if count > most:
        raise ValueError("it goes on long after its last voxel")


def _inflated(packed: IO[bytes], most: int) -> int:
    inflate, count = zlib.decompressobj(), 0
    while chunk := packed.read(_CHUNK):
        count += len(inflate.decompress(chunk))
        check_end(count, most)
    if not inflate.eof:
        raise EOFError("the compressed voxels end early")
    return count


def _gunzipped(packed: IO[bytes], most: int) -> int:
    with _open_gzip(packed) as file:
        return _counted(file, most)


def _bunzipped(packed: IO[bytes], most: int) -> int:
    with bz2.open(packed) as file:
        return _counted(file, most)


_PAYLOADS = {".gipl": _of_gipl, ".mha": _of_meta, ".mhd": _of_meta, ".nrrd": _of_nrrd, ".nhdr": _of_nrrd}
_UNPACKED: dict[str, Callable[[IO[bytes], int], int] | None] = {
    **dict.fromkeys(("raw",)),
    **dict.fromkeys(("gz", "gzip"), _gunzipped),
    **dict.fromkeys(("bz2", "bzip2"), _bunzipped),
}
