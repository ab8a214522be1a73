"""Run one function over many jobs in several processes, so that no job can stop the others."""

from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Callable, Iterator, Sequence, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int
) -> Iterator[tuple[Job, Result | Exception]]:
    """Yield each job with its result, or with what went wrong, as they finish.

    Args:
        function: Importable by name; spawned processes import its module.
        num_processes: With 1 everything runs in this process.
    """
    if num_processes <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, _outcome(lambda: function(job))
        return
    left = yield from _round(function, jobs, num_processes)
    # A process that dies (out of memory) takes its pool along, and nobody knows whose job it was: the rest runs one by one.
    for job in left:
        if (yield from _round(function, [job], 1)):
            yield job, RuntimeError("its process died; out of memory? fewer processes (-np) need less")


def _round(function: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int) -> Iterator:
    """Yield what finishes in one pool; return the jobs that a dying process left undone."""
    left = []
    pool = ProcessPoolExecutor(min(num_processes, len(jobs)), mp_context=get_context("spawn"))
    try:
        futures = {pool.submit(function, job): job for job in jobs}
        for future in as_completed(futures):
            outcome = _outcome(future.result)
            if isinstance(outcome, BrokenProcessPool):
                left.append(futures[future])
            else:
                yield futures[future], outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return left


def _outcome(call: Callable[[], Result]) -> Result | Exception:
    try:
        return call()
    except Exception as error:  # whatever is wrong with one case, the others go on
        return error
