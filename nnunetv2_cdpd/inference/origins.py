"""Origins: what a folder of predictions says of the images that they were made of, so that none is taken for that of another one.

Two series of a folder may change their numbers when a third one comes, and two images of a BIDS session have one prediction.
"""

from collections.abc import Iterable, Mapping
from os import SEEK_END
from pathlib import Path
from typing import Any
from zlib import crc32

from nnunetv2_cdpd.inference.inputs import Case
from nnunetv2_cdpd.jobs import digest
from nnunetv2_cdpd.jobs.record import file_state

IMAGES = "images"  # in the settings of a folder: case -> first file, and digest of all: names, sizes, ends, UID of the series
_END = 4096  # bytes of a file at either end, which tell one uncompressed image from another of its shape


def origins_of(cases: Iterable[Case]) -> dict[str, list[str]]:
    """What `IMAGES` says of cases that are to be predicted."""
    return {case.identifier: [case.files[0].name if case.files else "", _digest(case)] for case in cases}


def known_origins(settings: Any) -> dict[str, list[str]]:
    """What the settings of a folder say under `IMAGES`; of predictions of before there were any, nothing."""
    found = settings.get(IMAGES) if isinstance(settings, Mapping) else None
    return (
        {name: its for name, its in found.items() if isinstance(its, list) and len(its) == 2}
        if isinstance(found, Mapping)
        else {}
    )


def of_other_images(origins: Mapping[str, list[str]], settings: Any) -> list[str]:
    """Cases, of `origins_of`, whose predictions in a folder were made of other files than theirs."""
    before = known_origins(settings)
    return [case for case, its in origins.items() if case in before and before[case] != its]


def _digest(case: Case) -> str:
    if case.is_dicom:  # files of two series may have the same names and sizes
        return digest(case.series, [(file.name, (file_state(file) or (None,))[0]) for file in case.files])
    return digest([(file.name, *_ends(file)) for file in case.files])


def _ends(file: Path) -> tuple[int | None, int]:
    """Size, and a checksum of the first and the last bytes; of a file that cannot be read none."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, SEEK_END)
            stream.seek(0)
            first = stream.read(_END)
            stream.seek(max(0, size - _END))
            return size, crc32(stream.read(_END), crc32(first))
    except OSError:
        return None, 0
