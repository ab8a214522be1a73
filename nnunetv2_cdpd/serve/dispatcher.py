"""Dispatcher: the thread that hands job after job to the worker."""

import threading
from collections.abc import Callable

from nnunetv2_cdpd.errors import one_line
from nnunetv2_cdpd.serve.store import CANCELLED, DONE, FAILED, ServedJob
from nnunetv2_cdpd.serve.waiting import JobQueue
from nnunetv2_cdpd.serve.worker import JobCancelled, JobFailed, Worker

_LOOK_SECONDS = 0.5  # between two looks whether the server ends
_END_SECONDS = 5.0  # that a job has to notice it


class Dispatcher:
    """Runs the jobs of a queue, one at a time, whatever becomes of each.

    Args:
        worker: That was started.
        tell: Hears a line about each job.
    """

    def __init__(self, queue: JobQueue, worker: Worker, tell: Callable[[str], None]) -> None:
        self._queue, self._worker, self._tell = queue, worker, tell
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, with the job that runs: it stays on the disk as one that runs, and is told as lost later."""
        self._is_ending.set()
        self._thread.join(_END_SECONDS)
        self._worker.stop()

    def _run(self) -> None:
        while not self._is_ending.is_set():
            try:
                job = self._queue.next(_LOOK_SECONDS)
                self._queue.clear()
                if job is not None:
                    self._run_job(job)
            except OSError as error:  # a full disk: the jobs go on when there is room
                self._tell(f"cdpd: error: {one_line(error)}")
                self._is_ending.wait(_LOOK_SECONDS)

    def _run_job(self, job: ServedJob) -> None:
        request = {
            "folder": str(self._queue.folder_of(job)),
            "model": job.model,
            "classes": job.classes,
            "task": job.task,
            "files": job.files,
            "is_series": job.is_series,
            "ending": job.ending,
            "is_packed": job.is_packed,
            "formats": job.formats,
        }

        def report(done: int, total: int) -> None:
            job.windows = [done, total]

        try:
            made = self._worker.run(request, report, lambda: self._is_ending.is_set() or self._queue.is_cancelled(job))
        except JobCancelled:
            if not self._queue.is_cancelled(job):  # the server ends
                return
            self._queue.finish(job, CANCELLED, "it was cancelled")
        except JobFailed as error:
            if self._is_ending.is_set():
                return
            if error.__cause__ is not None:
                self._tell(f"cdpd: error: {one_line(error.__cause__)}")
            self._queue.finish(job, FAILED, str(error))
        else:
            self._queue.finish(job, DONE, notes=made["notes"], values=made["values"])
        took = (job.finished or 0) - (job.started or 0)
        self._tell(f"job {job.id}: {job.state} after {took:.1f} s{f' ({job.error})' if job.error else ''}")
