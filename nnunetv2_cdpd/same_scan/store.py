"""Store: fingerprints are taken once per image file and kept below nnUNet_preprocessed, for audits and merges to come."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_cdpd.datasets.output import folder_of_nnunet
from nnunetv2_cdpd.jobs import Outcome, file_state, in_processes, remove_leftovers, run, written_beside
from nnunetv2_cdpd.same_scan.fingerprint import Fingerprint, fingerprint

FINGERPRINTS_FOLDER = "cdpd_fingerprints"
_VERSION = 2  # of what a fingerprint is


@dataclass(frozen=True)
class FingerprintJob:
    """kept: Where the fingerprint is kept; None: nowhere, as nnUNet_preprocessed is not set."""

    image: Path
    kept: Path | None


def fingerprints_of(
    images: Sequence[Path], *, num_processes: int = 1, progress: bool = False, keep: bool = True
) -> Outcome[Fingerprint]:
    """Path of each image, as text -> its fingerprint, taken now unless it is kept, or why it has none.

    Args:
        keep: Keep those that are taken now.
    """
    folder = folder_of_nnunet(nnUNet_preprocessed)
    jobs = {str(image): FingerprintJob(image, folder and folder / FINGERPRINTS_FOLDER / _file_name(image)) for image in images}
    if folder is not None:
        remove_leftovers(folder / FINGERPRINTS_FOLDER)
    kept = {name: entry for name, job in jobs.items() if (entry := _kept(job.kept)) is not None}
    to_take = {name: job for name, job in jobs.items() if name not in kept}
    to_take = to_take if keep else {name: FingerprintJob(job.image, None) for name, job in to_take.items()}
    outcome = run(to_take, in_processes(take, num_processes), title="Fingerprints", unit="image", progress=progress)
    return Outcome({**kept, **outcome.done}, failed=outcome.failed)


def take(job: FingerprintJob) -> Fingerprint:
    """Take a fingerprint and keep it; what cannot be kept is taken again next time."""
    taken = fingerprint(job.image)
    if job.kept is not None:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing is kept
            job.kept.parent.mkdir(parents=True, exist_ok=True)
            with written_beside(job.kept) as beside:
                taken.save(beside)
    return taken


def _kept(path: Path | None) -> Fingerprint | None:
    try:
        return None if path is None else Fingerprint.load(path)
    except Exception:  # there is none, or whatever a damaged zip raises: it is taken
        return None


def _file_name(image: Path) -> str:
    """Tells an image file in its present state; a changed one is another."""
    facts = (str(image), _VERSION, *(file_state(image) or (None, None)))
    return f"{sha256(repr(facts).encode()).hexdigest()[:32]}.npz"
