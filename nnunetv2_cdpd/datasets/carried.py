"""Carried: what a model folder takes along when it is exported.

nnUNetv2_export_model_to_zip takes a fixed list of files. Of these, the model folder's dataset_fingerprint.json is the one that
nothing reads there, so what is to come along lies in it under a key of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.host import FINGERPRINT_FILE
from nnunetv2_cdpd.jobs import read_json, write_json
from nnunetv2_cdpd.jobs.shapes import read_shaped, record

_PREFIX = "cdpd_"  # of every key


def carry(folder: Path, key: str, content: Any) -> None:
    """Put JSON-able content into a model folder's file that exports take along.

    Raises:
        UserError: The file is damaged.
    """
    write_json(folder / FINGERPRINT_FILE, {**carrier_of(folder), key: content})


def carrier_of(folder: Path) -> dict[str, Any]:
    """Content of the file that exports take along; empty where there is none.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / FINGERPRINT_FILE
    return read_shaped(path, record(), "copy it from the preprocessed dataset, or remove it") if path.is_file() else {}


@contextmanager
def kept_along(folder: Path) -> Iterator[None]:
    """Keep what was put there while the file is copied anew from the preprocessed dataset, as at the beginning of a training.

    What is put there meanwhile takes the place of what was there.
    """
    kept = {key: value for key, value in _content(folder).items() if key.startswith(_PREFIX)}
    try:
        yield
    finally:  # also where what was begun after the copy fails
        if kept:
            write_json(folder / FINGERPRINT_FILE, {**kept, **carrier_of(folder)})


def taken_along(folder: Path, key: str) -> tuple[Any, Path] | None:
    """What was put there under a key, and the file; None: nothing."""
    path = folder / FINGERPRINT_FILE
    content = _content(folder)
    return (content[key], path) if key in content else None


def fingerprint_alone(folder: Path) -> dict[str, Any]:
    """The file without what was put there, which is of this model and no other; empty where there is none."""
    return {key: value for key, value in _content(folder).items() if not key.startswith(_PREFIX)}


def _content(folder: Path) -> dict[str, Any]:
    """Content of the file; empty where there is none that can be read."""
    content = read_json(folder / FINGERPRINT_FILE)
    return content if isinstance(content, dict) else {}
