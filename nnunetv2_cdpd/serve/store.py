"""Store: what a server keeps on the disk, so that it knows after a kill what is done and what is lost.

    STATE/cdpd_serve.json         marks the folder as a server's
    STATE/jobs/ID/job.json        a job; written last when a job is taken on, so that a folder without it is half an upload
    STATE/jobs/ID/input_0.nii.gz  what was sent, until the job is finished
    STATE/jobs/ID/result          appears whole, by being renamed
    STATE/images/ID/image.json    an image that was sent to be predicted later, by name

Names of folders and files are made here; none is a client's.
"""

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.formats import DICOM_ENDINGS
from nnunetv2_cdpd.jobs import read_json, remove, write_json

LABEL_MAP_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")  # in which a label map can be had
STATISTICS_FILE, RESULT_FILE = "statistics.json", "result.json"
_MARK = "cdpd_serve.json"
_VERSION = 1
QUEUED, RUNNING, DONE, FAILED, CANCELLED, LOST = "queued", "running", "done", "failed", "cancelled", "lost"
_LOST = "the server ended before this job was done; send it again"


@dataclass(frozen=True)
class SentImage:
    """Files of one image: a volume per channel; or the slices of a DICOM series, or a zip of them."""

    files: tuple[Path, ...]
    is_series: bool


@dataclass
class ServedJob:
    """One image to be predicted.

    model: Its name.
    classes: None: all that the task annotates.
    files: Of one image: a volume per channel, a zip of slices, or the slices.
    is_series: Whether they are slices, or a zip of them.
    ending: Of the label map's file.
    is_packed: Compress it, where the format leaves the choice.
    formats: Of DICOM, in which the prediction is wanted too.
    error: Why there is no result, in one line.
    notes: What is particular about the image.
    values: Class -> its value in the label map.
    windows: How many are done, of how many; of no meaning but for the one that asks.
    """

    id: str
    model: str
    classes: list[str] | None
    task: str | None
    files: list[str]
    is_series: bool
    ending: str
    is_packed: bool = True
    formats: list[str] = field(default_factory=list)
    state: str = QUEUED
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    windows: list[int] | None = None

    @property
    def is_over(self) -> bool:
        return self.state not in (QUEUED, RUNNING)


@dataclass
class KeptImage:
    """An image that was sent, to be predicted when it is named.

    name: As the client calls it.
    used: When it was last asked for.
    expires: Seconds after that.
    """

    id: str
    name: str
    files: list[str]
    is_series: bool
    created: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    expires: float = 0.0


Kept = TypeVar("Kept", ServedJob, KeptImage)


def label_map_file(ending: str) -> str:
    """Name of the label map among the results."""
    return f"label_map{ending}"


def dicom_file(output_format: str) -> str:
    """Name of a file of a format of DICOM among the results."""
    return f"prediction{DICOM_ENDINGS[output_format]}"


def open_state(folder: Path) -> None:
    """Make a folder a server's.

    Raises:
        UserError: It holds something else.
    """
    mark = folder / _MARK
    if not mark.exists() and any(not path.name.startswith(".cdpd_tmp_") for path in folder.iterdir()):
        raise UserError(f"{folder}: holds something else than a server's jobs; give an empty folder as argument state")
    if mark.exists() and read_json(mark) != {"version": _VERSION}:
        raise UserError(f"{folder}: is of another version of `cdpd serve`; give another folder as argument state")
    write_json(mark, {"version": _VERSION})
    for name in ("jobs", "images"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)


def new_entry(parent: Path) -> tuple[str, Path]:
    """An identifier that nobody guesses, and its new folder."""
    identifier = secrets.token_hex(16)
    folder = parent / identifier
    folder.mkdir(mode=0o700)
    return identifier, folder


def write_entry(folder: Path, entry: ServedJob | KeptImage) -> None:
    """Keep an entry as it is now."""
    write_json(folder / _file_of(type(entry)), asdict(entry))


def read_entries(parent: Path, kind: type[Kept]) -> list[Kept]:
    """What is kept, oldest first; folders that were never finished are removed, those of something else stay."""
    found = []
    known = {entry.name for entry in fields(kind)}
    for folder in parent.iterdir():
        if not (folder / _file_of(kind)).exists():
            remove(folder)
            continue
        content: Any = read_json(folder / _file_of(kind))
        if isinstance(content, dict) and content.keys() == known and content["id"] == folder.name:
            found.append(kind(**content))
    return sorted(found, key=lambda entry: entry.created)


def settle(parent: Path, job: ServedJob) -> None:
    """Say of a job that an earlier server left what became of it: done where the result is there, else lost."""
    folder = parent / job.id
    if not job.is_over:
        is_done = (folder / "result").is_dir()
        job.state, job.finished, job.error = (DONE, time.time(), None) if is_done else (LOST, time.time(), _LOST)
        if is_done and isinstance(said := read_json(folder / "result" / RESULT_FILE), dict):
            job.notes, job.values = said.get("notes", []), said.get("values", {})
        write_entry(folder, job)
    remove_inputs(folder)


def remove_inputs(folder: Path) -> None:
    """Remove what a finished job no longer needs."""
    for path in folder.iterdir():
        if path.name not in ("result", _file_of(ServedJob)):
            with suppress(OSError):
                remove(path)


def outdated(entries: list[Kept], most: int, is_old: Callable[[Kept], bool]) -> list[Kept]:
    """Those to be removed: the old ones, and the oldest of more than `most`.

    Args:
        entries: Oldest first.
    """
    surplus = max(0, len(entries) - most)
    return [entry for number, entry in enumerate(entries) if number < surplus or is_old(entry)]


def _file_of(kind: type) -> str:
    return "job.json" if kind is ServedJob else "image.json"
