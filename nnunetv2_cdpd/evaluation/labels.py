"""Labels: a dataset.json with its annotation, and nnU-Net's reader for the label maps that belong to it."""

import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from nnunetv2_cdpd.annotation import Annotation, read_annotation
from nnunetv2_cdpd.errors import UserError


@dataclass(frozen=True)
class Labels:
    """A dataset.json and what it says."""

    path: Path
    dataset_json: Mapping[str, Any]
    annotation: Annotation

    @property
    def file_ending(self) -> str:
        return self.dataset_json["file_ending"]


def read_labels(path: Path) -> Labels:
    """Read a dataset.json.

    Raises:
        UserError: It is damaged, or no dataset.json of nnU-Net v2.
    """
    try:
        dataset_json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); give another file") from error
    if not isinstance(dataset_json, dict) or not isinstance(dataset_json.get("file_ending"), str):
        raise UserError(f"{path}: no `file_ending`; is it a dataset.json of nnU-Net v2?")
    try:
        return Labels(path, dataset_json, read_annotation(dataset_json))
    except UserError as error:
        raise UserError(str(error).replace("dataset.json", str(path), 1)) from error


def reader_for(labels: Labels, files: Sequence[Path]) -> BaseReaderWriter:
    """nnU-Net's reader for the files: the one that opens the first file which any of them opens.

    Raises:
        UserError: None opens any.
    """
    for example in files:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(RuntimeError):
            return determine_reader_writer_from_dataset_json(dict(labels.dataset_json), str(example), verbose=False)()
    others = f" nor {len(files) - 1} others" if len(files) > 1 else ""
    raise UserError(f"{files[0]}: nnU-Net has no reader for {labels.file_ending} that opens it{others}; is the file damaged?")


def identifiers(folder: Path, ending: str) -> list[str]:
    """Identifiers of the cases in a folder.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give another one")
    return sorted(name[: -len(ending)] for name in os.listdir(folder) if name.endswith(ending) and not name.startswith("."))
