"""Inputs of a prediction: a file, a folder of files, or DICOM series, as cases that nnU-Net's reader of the model opens."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from nnunetv2_cdpd.datasets.dataset_json import channel_names
from nnunetv2_cdpd.datasets.volume_files import VOLUME_ENDINGS, is_image_file, not_taken
from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.inference.file_names import CHANNEL, beside_volumes, check_channel_numbers, files_of
from nnunetv2_cdpd.jobs import scratch_folder
from nnunetv2_cdpd.jobs.files import real_path
from nnunetv2_cdpd.volumes.reading import CheckedReader, read_sitk, told_notes, write_sitk

if TYPE_CHECKING:
    from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries

_NO_SERIES = "because folders below are read for DICOM series only; predict the folder by itself"
_NO_VOLUME = "being no volume of a format that is read"
Tell = Callable[[str], Any]  # takes what the user should know of an input, in one line


@dataclass(frozen=True)
class Case:
    """Files of one image.

    files: One per channel, in the order of the channels; or those of one DICOM series.
    modality: Of the slices of a DICOM series; None: any that makes volumes.
    channels: Numbers of the files, from their names; None: the names do not tell.
    series: Identifier of the DICOM series; "": none, or one that could not be read.
    """

    identifier: str
    files: tuple[Path, ...]
    is_dicom: bool = False
    modality: str | None = None
    channels: tuple[int, ...] | None = None
    series: str = ""


def modality_of(dataset_json: Mapping[str, Any]) -> str | None:
    """The modality that a DICOM series must have for a model; None if its channel may be of any."""
    return "CT" if channel_names(dataset_json)[0].casefold() == "ct" else None


def find_image_cases(
    path: Path, file_ending: str, num_channels: int, modality: str | None = None, tell: Tell = warnings.warn
) -> list[Case]:
    """The cases of a file or folder.

    A file `CASE_0000.nii.gz` and its siblings `CASE_0001.nii.gz`, ... are the channels of a case, as nnU-Net names them; for a
    model of one channel any other name is a case too. Other volume formats than the model's own are read as well. A folder
    without volumes is one of DICOM, and so are the folders below it, at any depth. Every series that can be a volume is a case,
    named after its folder, and by its number where there are several.

    Args:
        file_ending: Of the model's dataset.json.
        modality: Of DICOM series; see `modality_of`.
        tell: Hears which series are which cases, and what is passed over.

    Raises:
        UserError: There is nothing to predict, or two files make the same case.
    """
    endings = sorted({file_ending, *VOLUME_ENDINGS}, key=len, reverse=True)
    if path.is_file():
        return [_case_of_file(path, endings, num_channels)]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give an image, a folder of images or a DICOM series")
    files = files_of(path)
    found: dict[str, dict[int, Path]] = {}
    for file in files:
        ending = _ending(file, endings)
        if ending is not None:
            identifier, channel = _identifier(file, ending, num_channels)
            first = found.setdefault(identifier, {}).setdefault(channel, file)
            if first != file:
                raise UserError(f"{path}: {first.name} and {file.name} are both case {identifier!r}; rename or move one of them")
    if num_channels == 1:
        check_channel_numbers(path, [file.name[: -len(ending)] for file in files if (ending := _ending(file, endings))])
    cases = [_case_of_channels(identifier, channels) for identifier, channels in sorted(found.items())]
    below = _folders_below(path)
    if cases:
        for line in beside_volumes(path, [file for file in files if _ending(file, endings) is None], below):
            tell(line)
    else:
        for folder in (path, *below):
            identifier = "_".join(folder.relative_to(path).parts) or real_path(path).name
            cases += _dicom_cases(folder, identifier, modality, tell, _NO_VOLUME if folder == path else _NO_SERIES)
    if not cases:
        dicom = f"DICOM of {modality}" if modality else "DICOM"
        raise UserError(f"{path}: no image in it ({', '.join(dict.fromkeys((file_ending, *VOLUME_ENDINGS)))}, or {dicom})")
    named: dict[str, Case] = {}
    for case in cases:
        if (other := named.setdefault(case.identifier, case)) is not case:
            raise UserError(
                f"{other.files[0].parent} and {case.files[0].parent} are both case {case.identifier!r}; rename one of them"
            )
    return cases


def as_case(
    image: str | Path | Sequence[str | Path],
    file_ending: str,
    num_channels: int,
    modality: str | None = None,
    tell: Tell = warnings.warn,
) -> Case:
    """The one case of a path, or of one file per channel.

    Raises:
        UserError: There is not exactly one.
    """
    if not isinstance(image, (str, Path)):
        if not image:
            raise UserError("argument image: no file; give one per channel")
        return Case(Path(image[0]).name, tuple(Path(file) for file in image))
    cases = find_image_cases(Path(image), file_ending, num_channels, modality, tell)
    if len(cases) != 1:
        named = listed([case.identifier for case in cases], 4)
        raise UserError(f"{image}: {len(cases)} cases ({named}); give one of them, or predict the folder with `cdpd predict`")
    return cases[0]


@contextmanager
def opened(case: Case, reader: CheckedReader, tell: Tell = warnings.warn) -> Iterator[list[Path]]:
    """The files of a case in a format that the model's reader reads, one per channel; converted ones are deleted afterwards.

    Args:
        tell: Hears what is particular about the files.

    Raises:
        UserError: A channel is missing, a format cannot be converted for this reader, or a series is not whole.
    """
    if case.channels is not None and case.channels != tuple(range(len(case.channels))):
        raise UserError(
            f"{case.files[0].parent / case.identifier}: channels {', '.join(map(str, case.channels))}; they are counted from 0 "
            f"without a gap, as {case.identifier}_0000, {case.identifier}_0001, ...; add or rename files"
        )
    for note in () if case.is_dicom else told_notes(case.files):
        tell(note)
    readable = reader.supported_file_endings
    if not case.is_dicom and all(_ending(file, readable) for file in case.files):
        yield list(case.files)
        return
    target = next((ending for ending in (".nrrd", ".nii") if ending in readable), None)
    if target is None:
        raise UserError(f"{case.files[0]}: this model reads {', '.join(readable)}, into which the file cannot be converted")
    with scratch_folder("predict") as folder:
        converted = []
        images: Iterable[sitk.Image] = [_read_series(case, tell)] if case.is_dicom else map(read_sitk, case.files)
        for number, image in enumerate(images):
            converted.append(folder / f"{number}{target}")
            write_sitk(image, converted[-1])
        yield converted


def source_of(case: Case) -> "SourceSeries":
    """What a file that is derived from a DICOM series must say of it; raises as `SourceSeries.read`."""
    from nnunetv2_cdpd.volumes.dicom.derived_object import SourceSeries

    return SourceSeries.read(case.files, case.modality)


def _read_series(case: Case, tell: Tell) -> sitk.Image:
    """A DICOM series as one upright volume."""
    from nnunetv2_cdpd.volumes.dicom import read_series

    series = read_series(case.files, case.modality)
    for note in series.notes:
        tell(f"{case.files[0].parent}: {note}")
    if series.drift.any():
        tell(
            f"{case.files[0].parent}: gantry tilt of {series.tilt_degrees:.1f} degrees; the slices are moved within their planes "
            "to an upright grid, on which a label map lies; DICOM files of it lie on the slices themselves"
        )
    return series.image()


def _folders_below(path: Path) -> list[Path]:
    """Folders at any depth, sorted; links are followed, each folder once."""
    seen = {real_path(path)}
    found: list[Path] = []
    for above, names, _ in os.walk(path, followlinks=True):
        new = {real_path(Path(above, name)): name for name in sorted(names, reverse=True) if not name.startswith(".")}
        names[:] = [name for place, name in new.items() if place not in seen]
        seen |= set(new)
        found += [Path(above, name) for name in names]
    return sorted(found)


def _dicom_cases(folder: Path, identifier: str, modality: str | None, tell: Tell, why: str) -> list[Case]:
    """A case for each series of a folder that can be a volume, and for a folder with a damaged file, told when it is read.

    Args:
        why: Images of other formats there are not taken.
    """
    from nnunetv2_cdpd.volumes.dicom import find_series

    files = tuple(files_of(folder))
    try:
        found, passed_over, _ = find_series(files, modality)
    except UserError:
        return [Case(identifier, files, True, modality)]
    if passed_over:
        tell(f"{folder}: passed over: {', '.join(passed_over)}")
    else:
        for line in not_taken(folder, [file.name for file in files if not found and is_image_file(file.name)], why):
            tell(line)
    series = [entry.headers[0].series for entry in found]
    if len(found) == 1:
        return [Case(identifier, found[0].files, True, modality, series=series[0])]
    numbers = [entry.number for entry in found]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(found) + 1))
    for number, entry in zip(numbers, found):
        tell(f"{folder}: {entry} is case {identifier}_{number}")
    return [
        Case(f"{identifier}_{number}", entry.files, True, modality, series=uid)
        for number, entry, uid in zip(numbers, found, series)
    ]


def _case_of_file(file: Path, endings: Sequence[str], num_channels: int) -> Case:
    ending = _ending(file, endings)
    if ending is None:
        raise UserError(f"{file}: not a volume ({', '.join(endings)}); of a DICOM series give the folder")
    identifier, channel = _identifier(file, ending, num_channels)
    channels = {channel: file}
    for sibling in files_of(file.parent) if num_channels > 1 else ():
        if _ending(sibling, endings) == ending and (its := _identifier(sibling, ending, num_channels))[0] == identifier:
            channels.setdefault(its[1], sibling)
    return _case_of_channels(identifier, channels)


def _case_of_channels(identifier: str, files: Mapping[int, Path]) -> Case:
    channels = tuple(sorted(files))
    return Case(identifier, tuple(files[i] for i in channels), channels=channels)


def _ending(file: Path, endings: Sequence[str]) -> str | None:
    return next((ending for ending in endings if file.name.lower().endswith(ending.lower())), None)


def _identifier(file: Path, ending: str, num_channels: int) -> tuple[str, int]:
    """Case identifier and channel number of a file name."""
    stem = file.name[: -len(ending)]
    match = CHANNEL.fullmatch(stem)
    if match and (num_channels > 1 or match[2] == "0000"):
        return match[1], int(match[2])
    return stem, 0
