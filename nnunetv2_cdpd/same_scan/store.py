"""Store: fingerprints are taken once per image file and kept below nnUNet_preprocessed, for audits and merges to come."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_cdpd.jobs import in_processes, run, written_beside
from nnunetv2_cdpd.same_scan.fingerprint import Fingerprint, fingerprint

FOLDER = "cdpd_fingerprints"
VERSION = 1  # of what a fingerprint is


@dataclass(frozen=True)
class FingerprintJob:
    """stored: Where the fingerprint is kept; None: nowhere."""

    image: Path
    stored: Path | None


@dataclass(frozen=True)
class Fingerprints:
    """taken: Image -> its fingerprint. failed: Image -> why it has none, in one line."""

    taken: Mapping[Path, Fingerprint]
    failed: Mapping[Path, str]


def store_folder() -> Path | None:
    """Where fingerprints are kept; None: nnUNet_preprocessed is not set, so nowhere."""
    return Path(os.path.abspath(nnUNet_preprocessed.require())) / FOLDER if nnUNet_preprocessed.is_set() else None


def fingerprints_of(images: Sequence[Path], *, num_processes: int = 1, progress: bool = False) -> Fingerprints:
    """The fingerprint of each image, taken now unless it is kept, and why others have none."""
    folder = store_folder()
    jobs = {str(image): FingerprintJob(image, None if folder is None else folder / _file_name(image)) for image in images}
    if folder is not None:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing is kept
            folder.mkdir(parents=True, exist_ok=True)
    kept = _Kept()
    outcome = run(jobs, in_processes(take, num_processes), title="Fingerprints", record=kept, unit="image", progress=progress)
    found = {**kept.fingerprints, **outcome.done}
    return Fingerprints(
        {image: found[str(image)] for image in images if str(image) in found},
        {image: outcome.failed[str(image)] for image in images if str(image) in outcome.failed},
    )


@dataclass
class _Kept:
    """The folder of fingerprints as the record of a batch: what is kept there is not taken again."""

    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)

    def holds(self, name: str, job: FingerprintJob) -> bool:
        kept = _kept(job.stored)
        if kept is not None:
            self.fingerprints[name] = kept
        return kept is not None

    def enter(self, name: str, job: FingerprintJob, result: Fingerprint) -> None:
        """`take` has kept it already."""


def take(job: FingerprintJob) -> Fingerprint:
    """Take a fingerprint and keep it; what cannot be kept is taken again next time."""
    taken = fingerprint(job.image)
    if job.stored is not None:
        with contextlib.suppress(OSError), written_beside(job.stored) as beside:
            taken.save(beside)
    return taken


def _kept(path: Path | None) -> Fingerprint | None:
    if path is None or not path.is_file():
        return None
    try:
        return Fingerprint.load(path)
    except Exception:  # whatever a damaged zip raises; it is taken again
        return None


def _file_name(image: Path) -> str:
    """Tells an image file in its present state; a changed one is another."""
    state = os.stat(image) if image.is_file() else None
    facts = (str(image), VERSION, state and state.st_size, state and state.st_mtime_ns)
    return f"{sha256(repr(facts).encode()).hexdigest()[:32]}.npz"
