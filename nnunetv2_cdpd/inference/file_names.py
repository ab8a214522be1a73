"""File names of a folder of images: which number is a channel's, and what is no case."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnunetv2_cdpd.datasets.volume_files import is_image_file, not_taken
from nnunetv2_cdpd.errors import UserError, listed

CHANNEL = re.compile(r"(.+)_(\d{4})")  # case identifier and number of a channel, as nnU-Net names images
_MOST_CHANNELS = 10  # that images have; a higher number at the end of a name is that of a case


def check_channel_numbers(path: Path, stems: Iterable[str]) -> None:
    """Raise UserError if the numbers at the ends of names may be those of channels, of which the model takes one.

    Cases may be named by numbers too, scan_0007 and scan_0012; but not one of them alone as a second channel would be, nor
    beside a first channel.
    """
    numbers: dict[str, list[str]] = {}
    for match in filter(None, map(CHANNEL.fullmatch, stems)):
        numbers.setdefault(match[1], []).append(match[2])
    for identifier, its in numbers.items():
        lacks_first = len(its) == 1 and 0 < int(its[0]) < _MOST_CHANNELS
        if lacks_first or ("0000" in its and len(its) > 1):
            what = f"channel {its[0]} without 0000" if lacks_first else f"channels {listed(its)}"
            raise UserError(
                f"{path}: {identifier} has {what} by the names of its files, and the model takes one channel, 0000; rename or "
                f"move them (a case that is called {identifier}_{its[-1]} is {identifier}_{its[-1]}_0000)"
            )


def beside_volumes(path: Path, others: Iterable[Path], below: Iterable[Path]) -> Iterator[str]:
    """Lines on what is no case because a folder holds volumes: pictures and slices among them, and folders of images below."""
    yield from not_taken(path, [file.name for file in others if _is_image(file)], "among volumes, being none")
    folders = [str(folder.relative_to(path)) for folder in below if any(map(_is_image, files_of(folder)))]
    yield from not_taken(path, folders, "being folders of images below one that holds volumes (predict each by itself)")


def files_of(folder: Path) -> list[Path]:
    """The files of a folder, also links that lead nowhere, which are told when they are read."""
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [path for path in paths if path.is_file() or (path.is_symlink() and not path.exists())]


def _is_image(file: Path) -> bool:
    """Whether a file is an image by its name, or a slice in DICOM by what it says of itself."""
    from nnunetv2_cdpd.volumes.dicom import is_dicom

    return is_image_file(file.name) or is_dicom(file)
