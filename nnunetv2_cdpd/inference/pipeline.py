"""Pipeline: a runner that reads cases ahead and exports behind, while this thread predicts.

Reading and exporting run in threads of this process, so that no volume of logits is ever copied to another one. At most
`num_exporters` volumes of logits wait to be exported, besides the one that is predicted.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from nnunetv2_cdpd.jobs import Runner

Job = TypeVar("Job")
Read = TypeVar("Read")
Predicted = TypeVar("Predicted")
Result = TypeVar("Result")


def pipeline(
    read: Callable[[Job], Read],
    predict: Callable[[Read], Predicted],
    export: Callable[[Job, Predicted], Result],
    *,
    num_readers: int,
    num_exporters: int,
) -> Runner[Job, Result]:
    """A runner of read -> predict -> export; see `jobs.run`.

    Args:
        read: Runs in a thread.
        predict: Runs in the calling thread; what it was given is released before the export.
        export: Runs in a thread.
        num_readers: Cases read ahead; 0: none.
        num_exporters: Cases exported while the next ones are predicted; 0: none.
    """

    def run(jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | Exception]]:
        with ExitStack() as stack:
            reading = _Threads(stack, num_readers)
            exporting = _Threads(stack, num_exporters)
            waiting = deque(jobs)
            while waiting or reading.running:
                while waiting and len(reading.running) < max(1, num_readers):
                    job = waiting.popleft()
                    reading.start(job, read, job)
                job, future = reading.running.popleft()
                if waiting and num_readers:
                    following = waiting.popleft()
                    reading.start(following, read, following)
                try:
                    predicted = predict(future.result())
                except Exception as error:
                    yield job, error
                    continue
                exporting.start(job, export, job, predicted)
                del predicted, future
                while len(exporting.running) > num_exporters:
                    yield exporting.next_outcome()
            while exporting.running:
                yield exporting.next_outcome()

    return run


class _Threads(Generic[Job]):
    """Threads for one kind of work, and what runs there, in the order of starting."""

    def __init__(self, stack: ExitStack, num_threads: int) -> None:
        self.running: deque[tuple[Job, Future[Any]]] = deque()
        self.pool = ThreadPoolExecutor(max(1, num_threads))
        stack.callback(self.pool.shutdown, cancel_futures=True)

    def start(self, job: Job, function: Callable[..., Any], *args: Any) -> None:
        self.running.append((job, self.pool.submit(function, *args)))

    def next_outcome(self) -> tuple[Job, Any]:
        """The job that was started first, and its result or what went wrong."""
        job, future = self.running.popleft()
        try:
            return job, future.result()
        except Exception as error:
            return job, error
