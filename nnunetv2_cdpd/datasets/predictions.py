"""Folders of predictions: the cases in them, and nnU-Net's reader for the label maps."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.errors import UserError, is_text
from nnunetv2_cdpd.volumes.reading import CheckedReader

NEEDED = ("labels", "file_ending")  # of a dataset.json beside label maps


def reader_for(dataset_json: DatasetJson, files: Sequence[Path]) -> CheckedReader:
    """nnU-Net's reader for the files: the one that opens the first file which any of them opens.

    Raises:
        UserError: None opens any.
    """
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json  # takes half a second

    # A name that is no text ends the process in SimpleITK; a pipe would be waited for.
    for example in (file for file in files if is_text(str(file)) and file.is_file()):
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(RuntimeError):
            reader = determine_reader_writer_from_dataset_json(dict(dataset_json.content), str(example), verbose=False)
            return CheckedReader(reader())
    others = f" nor {len(files) - 1} others" if len(files) > 1 else ""
    raise UserError(
        f"{files[0]}: nnU-Net has no reader for {dataset_json.file_ending} that opens it{others}; is the file damaged?"
    )


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
