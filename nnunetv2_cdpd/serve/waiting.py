"""Waiting: the jobs of a server, from being sent to being forgotten; one runs at a time, the others wait in a row."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nnunetv2_cdpd.jobs import remove
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.store import (
    CANCELLED,
    QUEUED,
    RUNNING,
    ServedJob,
    new_entry,
    outdated,
    read_entries,
    remove_inputs,
    settle,
    write_entry,
)

_NOTHING: Mapping[str, int] = MappingProxyType({})


class QueueFull(Exception):
    """As many jobs wait as may."""


class JobQueue:
    """All jobs that a server knows. Its methods may be called from any thread.

    Args:
        folder: Of the jobs, in the server's state. Those of a server that was killed are told as lost there, or as done.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self._limits = folder, limits
        self._changed = threading.Condition(threading.RLock())
        self._cancelled: set[str] = set()
        jobs = read_entries(folder, ServedJob)
        for job in jobs:
            settle(folder, job)
        self._jobs = {job.id: job for job in jobs}
        self.clear()

    # ---- for clients -------------------------------------------------------------------------------------------------

    def get(self, identifier: str) -> ServedJob | None:
        return self._jobs.get(identifier)

    def folder_of(self, job: ServedJob) -> Path:
        return self.folder / job.id

    def place(self, job: ServedJob) -> int | None:
        """How many jobs come before one that waits, with the one that runs; None: it does not wait."""
        with self._changed:
            waiting = [other.id for other in self._jobs.values() if other.state == QUEUED]
            running = sum(other.state == RUNNING for other in self._jobs.values())
            return waiting.index(job.id) + running if job.id in waiting else None

    @property
    def num_waiting(self) -> int:
        with self._changed:
            return sum(job.state == QUEUED for job in self._jobs.values())

    def check_room(self) -> None:
        """Raise QueueFull if no further job may wait."""
        if self.num_waiting >= self._limits.queued:
            raise QueueFull

    def new_folder(self) -> tuple[str, Path]:
        """Identifier and folder for what a client sends; it becomes a job by `submit`."""
        return new_entry(self.folder)

    def submit(self, job: ServedJob) -> None:
        """Let a job wait for its turn; raises QueueFull."""
        with self._changed:
            if sum(other.state == QUEUED for other in self._jobs.values()) >= self._limits.queued:
                raise QueueFull
            write_entry(self.folder_of(job), job)
            self._jobs[job.id] = job
            self._changed.notify_all()

    def cancel(self, job: ServedJob) -> None:
        """End a job that waits or runs; one that runs ends at its next window."""
        with self._changed:
            if job.state == QUEUED:
                self._finish(job, CANCELLED, "it was cancelled")
            elif job.state == RUNNING:
                self._cancelled.add(job.id)

    def forget(self, job: ServedJob) -> None:
        """Remove a finished job with its results."""
        with self._changed:
            if job.is_over and self._jobs.pop(job.id, None) is not None:
                remove(self.folder_of(job))

    # ---- for the one that works on them ------------------------------------------------------------------------------

    def next(self, seconds: float) -> ServedJob | None:
        """The next job, which now runs; None: there is none within so long."""
        with self._changed:
            self._changed.wait_for(lambda: any(job.state == QUEUED for job in self._jobs.values()), seconds)
            job = next((job for job in self._jobs.values() if job.state == QUEUED), None)
            if job is not None:
                job.state, job.started = RUNNING, time.time()
                try:
                    write_entry(self.folder_of(job), job)
                except OSError:  # a full disk: it waits on
                    job.state, job.started = QUEUED, None
                    raise
            return job

    def is_cancelled(self, job: ServedJob) -> bool:
        return job.id in self._cancelled

    def finish(
        self,
        job: ServedJob,
        state: str,
        error: str | None = None,
        *,
        notes: Sequence[str] = (),
        values: Mapping[str, int] = _NOTHING,
    ) -> None:
        """Note what became of a job, and forget old ones; see `ServedJob`."""
        with self._changed:
            job.notes, job.values = list(notes), dict(values)
            self._finish(job, state, error)
        self.clear()

    def _finish(self, job: ServedJob, state: str, error: str | None) -> None:
        job.state, job.error, job.finished, job.windows = state, error, time.time(), None
        self._cancelled.discard(job.id)
        write_entry(self.folder_of(job), job)
        remove_inputs(self.folder_of(job))

    def clear(self) -> None:
        """Forget finished jobs that are too old or too many."""
        with self._changed:
            over = sorted((job for job in self._jobs.values() if job.is_over), key=lambda job: job.finished or 0)
            oldest = time.time() - 3600 * self._limits.kept_hours
            for job in outdated(over, self._limits.kept_jobs, lambda job: (job.finished or 0) < oldest):
                self.forget(job)
