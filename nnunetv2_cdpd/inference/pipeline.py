"""Pipeline: a runner that reads cases ahead and exports behind, while this thread predicts.

Reading and exporting run in threads of this process, so that no volume is ever copied to another one. At most `num_exporters`
predictions wait to be exported, besides the one that is made.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from nnunetv2_cdpd.jobs.batch import Job, Result, Runner

Read = TypeVar("Read")
Predicted = TypeVar("Predicted")


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
        waiting, reading, exporting = deque(jobs), deque[Future[Read]](), deque[tuple[Job, Future[Result]]]()
        readers, exporters = ThreadPoolExecutor(max(1, num_readers)), ThreadPoolExecutor(max(1, num_exporters))
        try:
            for job in jobs:
                while waiting and len(reading) <= num_readers:  # this job and those ahead
                    reading.append(readers.submit(read, waiting.popleft()))
                try:
                    predicted = predict(reading.popleft().result())
                except Exception as error:
                    yield job, error
                    continue
                exporting.append((job, exporters.submit(export, job, predicted)))
                del predicted
                while len(exporting) > num_exporters:
                    yield _outcome(*exporting.popleft())
            while exporting:
                yield _outcome(*exporting.popleft())
        finally:
            for pool in (readers, exporters):
                pool.shutdown(cancel_futures=True)

    return run


def _outcome(job: Job, future: Future[Any]) -> tuple[Job, Any]:
    try:
        return job, future.result()
    except Exception as error:
        return job, error
