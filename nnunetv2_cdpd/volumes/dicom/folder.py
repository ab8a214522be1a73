"""The series of a folder: which of its files are slices of a volume, and what is passed over."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom.header import Header, read_header

DICOM_NAMES = (".dcm", ".ima", ".dic", ".dicom")
_WITHOUT_ENDING = ("license", "readme", "version", "lockfile")  # that are not DICOM
SCANNED = ("CT", "MR", "NM", "PT")  # modalities whose images are slices of volumes


@dataclass(frozen=True)
class SeriesFiles:
    """Files of one series, not checked yet: headers of its slices in the order of the files' names."""

    headers: tuple[Header, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(header.path for header in self.headers)

    @property
    def number(self) -> int | None:
        return self.headers[0].number

    def __str__(self) -> str:
        first = self.headers[0]
        number = "" if first.number is None else f" {first.number}"
        description = f" {first.description!r}" if first.description else ""
        return f"series{number}{description} ({len(self.headers)} file{'s' * (len(self.headers) > 1)})"


class Contents(NamedTuple):
    """What a folder holds.

    series: That can be volumes, by their numbers.
    passed_over: How many of which kind, in words.
    strays: Of these, the slices that a folder of one series should not hold, of another modality or alone: each in words.
    """

    series: list[SeriesFiles]
    passed_over: tuple[str, ...]
    strays: tuple[str, ...]


def find_series(files: Iterable[Path], modality: str | None = None) -> Contents:
    """The series of a folder that can be volumes, by their numbers.

    Passed over are files that are not DICOM, objects without pixels (structure sets, presentation states, reports), localizers,
    screenshots, images of other modalities, and series of a single image beside those of more.

    Args:
        files: Of a folder; hidden ones are left alone.
        modality: Of the slices; None: any that makes volumes.

    Raises:
        UserError: A file is damaged, or named like DICOM and is not.
    """
    wanted = SCANNED if modality is None else (modality,)
    passed_over: Counter[str] = Counter()
    series: dict[str, list[Header]] = {}
    others: list[Path] = []
    strays: list[str] = []
    for path in sorted(files):
        if path.name.startswith("."):
            continue
        header = read_header(path)
        if header is None:
            others.append(path)
        elif not header.is_slice:
            passed_over[header.kind] += 1
        elif header.modality not in wanted:
            passed_over[f"{header.kind} of modality {header.modality or 'not given'}"] += 1
            if header.modality in SCANNED:
                strays.append(f"{path} is not {modality} (modality {header.modality})")
        else:
            series.setdefault(header.series, []).append(header)
    for path in others:
        if path.suffix.lower() in DICOM_NAMES or (series and _may_lack_ending(path)):
            raise UserError(
                f"{path} is no whole DICOM file; take it out of the series' folder or copy it again (it does not "
                "begin as DICOM does)"
            )
    volumes = {uid: headers for uid, headers in series.items() if len(headers) > 1 or len(headers[0].slices) > 1}
    if volumes:
        alone = [headers[0].path for uid, headers in series.items() if uid not in volumes]
        passed_over["series of a single image"] += len(alone)
        strays += [f"{path} is the only image of its series" for path in alone]
    found = [SeriesFiles(tuple(headers)) for _, headers in sorted((volumes or series).items())]
    found.sort(key=lambda entry: (entry.number is None, entry.number or 0))
    named = [f"{count} x {what}" for what, count in sorted(passed_over.items()) if count]
    if not series and not named:
        return Contents([], (), ())  # a folder of something else
    return Contents(found, (*named, *(f"{path.name}, no DICOM" for path in others)), tuple(strays))


def _may_lack_ending(path: Path) -> bool:
    """Whether a file is named as many archives name slices: IM0001, or the identifier of the slice, 1.2.840.113."""
    return (not path.suffix or path.suffix[1:].isdigit()) and path.name.lower() not in _WITHOUT_ENDING
