"""Inputs of a prediction: a file, a folder of files, or DICOM series, as cases that nnU-Net's reader of the model opens."""

import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunetv2_cdpd.errors import UserError

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl")  # that SimpleITK reads
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_EVEN = 0.01  # how much the distances between the slices of a series may differ, as a share


@dataclass(frozen=True)
class Case:
    """Files of one image.

    files: One per channel, in the order of the channels; or all slices of one DICOM series, in the order of their positions.
    """

    identifier: str
    files: tuple[Path, ...]
    is_dicom: bool = False


def find_cases(path: Path, file_ending: str, num_channels: int) -> list[Case]:
    """The cases of a file or folder.

    A file `CASE_0000.nii.gz` and its siblings `CASE_0001.nii.gz`, ... are the channels of a case, as nnU-Net names them; for a
    model of one channel any other name is a case too. Other volume formats than the model's own are read as well. A folder
    without volumes is one of DICOM, with one series or several, or its subfolders are.

    Args:
        file_ending: Of the model's dataset.json.

    Raises:
        UserError: There is nothing to predict, or two files make the same case.
    """
    endings = sorted({file_ending, *VOLUME_ENDINGS}, key=len, reverse=True)
    if path.is_file():
        return [_case_of_file(path, endings, num_channels)]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give an image, a folder of images or a DICOM series")
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    found: dict[str, dict[int, Path]] = {}
    for file in files:
        ending = _ending(file, endings)
        if ending is not None:
            identifier, channel = _identifier(file, ending, num_channels)
            other = found.setdefault(identifier, {}).setdefault(channel, file)
            if other != file:
                raise UserError(f"{path}: {other.name} and {file.name} are both case {identifier!r}; rename or move one of them")
    cases = [Case(identifier, tuple(channels[i] for i in sorted(channels))) for identifier, channels in sorted(found.items())]
    cases = cases or _dicom_cases(path) or [
        case for folder in sorted(path.iterdir()) if folder.is_dir() for case in _dicom_cases(folder)
    ]
    if not cases:
        raise UserError(f"{path}: no image in it ({file_ending}, {', '.join(VOLUME_ENDINGS)}, or DICOM)")
    return cases


def as_case(image: str | Path | Sequence[str | Path], file_ending: str, num_channels: int) -> Case:
    """The one case of a path, or of one file per channel.

    Raises:
        UserError: There is not exactly one.
    """
    if not isinstance(image, (str, Path)):
        return Case(Path(image[0]).name, tuple(Path(file) for file in image))
    cases = find_cases(Path(image), file_ending, num_channels)
    if len(cases) != 1:
        raise UserError(f"{image}: {len(cases)} cases; give one of them, or predict the folder with `cdpd predict`")
    return cases[0]


@contextmanager
def opened(case: Case, reader: BaseReaderWriter) -> Iterator[list[Path]]:
    """The files of a case in a format that the model's reader reads, one per channel; converted ones are deleted afterwards.

    Raises:
        UserError: A format cannot be converted for this reader, or a series lacks slices.
    """
    readable = [str(ending) for ending in reader.supported_file_endings]
    if not case.is_dicom and all(_ending(file, readable) for file in case.files):
        yield list(case.files)
        return
    target = next((ending for ending in (".nrrd", ".nii") if ending in readable), None)
    if target is None:
        raise UserError(f"{case.files[0]}: this model reads {', '.join(readable)}, into which the file cannot be converted")
    import SimpleITK as sitk

    folder = Path(tempfile.mkdtemp(prefix="cdpd_predict_"))
    try:
        converted = []
        for number, source in enumerate([case.files] if case.is_dicom else case.files):
            converted.append(folder / f"{number}{target}")
            sitk.WriteImage(_read_series(source) if case.is_dicom else _read_volume(source), str(converted[-1]))
        yield converted
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_volume(file: Path):
    import SimpleITK as sitk

    try:
        return sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise UserError(f"{file}: cannot be read; is it damaged?") from error


def _read_series(files: Sequence[Path]):
    """A DICOM series as one volume."""
    import SimpleITK as sitk

    positions = []
    for file in files:
        header = sitk.ImageFileReader()
        header.SetFileName(str(file))
        header.SetImageIO("GDCMImageIO")
        try:
            header.ReadImageInformation()
        except RuntimeError as error:
            raise UserError(f"{file}: cannot be read as DICOM; is it damaged?") from error
        positions.append(header.GetOrigin())
    distances = np.linalg.norm(np.diff(np.array(positions), axis=0), axis=1)
    if len(distances) and (distances.min() <= 0 or distances.max() > distances.min() * (1 + _EVEN)):
        raise UserError(
            f"{files[0].parent}: the slices of the series lie {distances.min():.3g} to {distances.max():.3g} mm apart; some are "
            "missing or doubled"
        )
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(file) for file in files])
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise UserError(f"{files[0].parent}: the DICOM series cannot be read; is a file damaged?") from error


def _dicom_cases(folder: Path) -> list[Case]:
    """A case for each series in a folder: its name, with a number where there are several."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = sorted(reader.GetGDCMSeriesIDs(str(folder)))
    names = [tuple(map(Path, reader.GetGDCMSeriesFileNames(str(folder), uid))) for uid in series]
    stem = folder.resolve().name
    if len(names) == 1:
        return [Case(stem, names[0], is_dicom=True)]
    return [Case(f"{stem}_{number}", files, is_dicom=True) for number, files in enumerate(names, start=1)]


def _case_of_file(file: Path, endings: Sequence[str], num_channels: int) -> Case:
    ending = _ending(file, endings)
    if ending is None:
        raise UserError(f"{file}: not a volume ({', '.join(endings)}); of a DICOM series give the folder")
    identifier, _ = _identifier(file, ending, num_channels)
    if num_channels == 1:
        return Case(identifier, (file,))
    siblings = sorted(file.parent.glob(f"{glob_escape(identifier)}_[0-9][0-9][0-9][0-9]{ending}"))
    return Case(identifier, tuple(siblings) or (file,))


def glob_escape(text: str) -> str:
    """A name in which no character stands for others."""
    return re.sub(r"([*?[])", r"[\1]", text)


def _ending(file: Path, endings: Sequence[str]) -> str | None:
    return next((ending for ending in endings if file.name.lower().endswith(ending.lower())), None)


def _identifier(file: Path, ending: str, num_channels: int) -> tuple[str, int]:
    """Case identifier and channel number of a file name."""
    stem = file.name[: -len(ending)]
    match = _CHANNEL.fullmatch(stem)
    if match and (num_channels > 1 or match[2] == "0000"):
        return match[1], int(match[2])
    return stem, 0
