"""Folders of predictions: the cases in them, and nnU-Net's reader for the label maps."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.errors import UserError, is_text, reason
from nnunetv2_cdpd.volumes.reading import CheckedReader, header_notes
from nnunetv2_cdpd.volumes.whole import check_file

NEEDED = ("labels", "file_ending")  # of a dataset.json beside label maps


def reader_for(dataset_json: DatasetJson, files: Sequence[Path]) -> CheckedReader:
    """nnU-Net's reader for the files: the one that opens the first file which any of them opens.

    Raises:
        UserError: None opens any; the first file is told, with the reason.
    """
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json  # takes half a second

    # A name that is no text ends the process in SimpleITK; a pipe would be waited for.
    said = ""
    for example in (file for file in files if is_text(str(file)) and file.is_file()):
        printed = io.StringIO()  # nnU-Net prints why each of its readers did not open it
        with contextlib.redirect_stderr(printed), contextlib.suppress(RuntimeError):
            reader = determine_reader_writer_from_dataset_json(dict(dataset_json.content), str(example), verbose=False)
            return CheckedReader(reader())
        said = said or printed.getvalue()
    first = files[0]
    if not is_text(str(first)):
        raise UserError(f"{str(first)!a}: the name holds bytes that are no UTF-8; rename it")
    check_file(first)
    others = f" nor {len(files) - 1} others" if len(files) > 1 else ""
    told = f"{first}: nnU-Net has no reader for {dataset_json.file_ending} that opens it{others}"
    try:
        header_notes(first)
    except UserError as error:
        raise UserError(f"{told}: {error}") from error
    why = next((f" ({reason(RuntimeError(line))})" for line in reversed(said.splitlines()) if line.strip()), "")
    raise UserError(f"{told}{why}; is the file damaged?")


def identifiers(folder: Path, ending: str) -> list[str]:
    """Identifiers of the cases in a folder.

    Raises:
        UserError: There is no such folder.
    """
    return sorted(
        name[: -len(ending)] for name in os.listdir(existing_folder(folder)) if name.endswith(ending) and not name.startswith(".")
    )


def existing_folder(folder: Path) -> Path:
    """A folder that is to be read.

    Raises:
        UserError: There is none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give another one")
    return folder
