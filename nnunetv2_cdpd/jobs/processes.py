"""Processes: one function over many jobs in several processes, so that no job can stop the others."""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import current_process
from multiprocessing.context import SpawnContext, SpawnProcess
from signal import Signals
from typing import Any

from nnunetv2_cdpd.errors import UserError, check_at_least
from nnunetv2_cdpd.jobs.batch import Job, Result, Runner

_UNGUARDED = 117  # exit code of a process whose script wants processes while it is only imported
_KILLED = -9
_AHEAD = 2  # jobs handed out per process, so that none waits for its next one


def number_of_processes(given: int | None, num_jobs: int, jobs_per_process: int = 1) -> int:
    """How many processes to use.

    Args:
        given: None: nnU-Net's default, at most one per core and per so many jobs, because a process takes seconds to start.

    Raises:
        UserError: Less than one was given.
    """
    from nnunetv2.configuration import default_num_processes

    check_at_least(1, num_processes=given)
    return given or max(1, min(default_num_processes, os.cpu_count() or 1, num_jobs // jobs_per_process))


def in_processes(function: Callable[[Job], Result], num_processes: int) -> Runner[Job, Result]:
    """Runs a function over jobs in several processes; see `batch.run`.

    Args:
        function: Importable by name; spawned processes import its module.
        num_processes: With 1 everything runs in this process.

    The runner raises UserError where the script that called cannot be imported by the processes without starting processes
    itself.
    """
    return lambda jobs: _run(function, jobs, num_processes)


def _run(function: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int) -> Iterator[tuple[Job, Result | Exception]]:
    if num_processes <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, _outcome(partial(function, job))
        return
    # A process imports the script that started it. Without its guard the script comes to this line again, there.
    if getattr(current_process(), "_inheriting", False):
        sys.exit(_UNGUARDED)
    waiting = deque(jobs)
    while waiting:
        left, _ = yield from _round(function, waiting, num_processes)
        # A process that dies (out of memory) takes its pool along, and nobody knows whose job it was: those that were handed
        # out run one by one, the many others in a new pool.
        for job in left:
            undone, exit_codes = yield from _round(function, deque([job]), 1)
            if undone:
                yield job, UserError(_why(exit_codes))


def _round(
    function: Callable[[Job], Result], waiting: deque[Job], num_processes: int
) -> Generator[tuple[Job, Result | Exception], None, tuple[list[Job], list[int | None]]]:
    """Yield what finishes in one pool.

    Args:
        waiting: Jobs; those that are handed out are taken from it, all of them unless a process dies.

    Returns:
        The jobs that were handed out and that a dying process left undone, and how the processes ended.
    """
    left: list[Job] = []
    futures: dict[Future[Result], Job] = {}
    context = _RecordingContext()
    pool = ProcessPoolExecutor(min(num_processes, len(waiting)), mp_context=context)
    try:
        while futures or (waiting and not left):
            while waiting and not left and len(futures) < _AHEAD * num_processes:
                job = waiting.popleft()
                try:
                    futures[pool.submit(function, job)] = job
                except BrokenProcessPool:  # a process died since
                    left.append(job)
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                job, outcome = futures.pop(future), _outcome(future.result)
                if isinstance(outcome, BrokenProcessPool):
                    left.append(job)
                else:
                    yield job, outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    exit_codes = [process.exitcode for process in context.processes]
    if _UNGUARDED in exit_codes:
        script = getattr(sys.modules["__main__"], "__file__", "the script")
        raise UserError(f'{script}: starts processes when it is imported; put its calls under `if __name__ == "__main__":`')
    return left, exit_codes


class _RecordingContext(SpawnContext):
    """Spawns processes and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # a class there, called the same way
        self.processes.append(super().Process(*args, **kwargs))
        return self.processes[-1]


def _why(exit_codes: Sequence[int | None]) -> str:
    """Why a job's own process died."""
    (code,) = exit_codes
    if code == _KILLED:
        return "its process was killed, most likely for lack of memory; fewer processes (argument num_processes) need less"
    if code is not None and code < 0:
        names = {signal.value: signal.name for signal in Signals}
        return f"its process crashed ({names.get(-code, f'signal {-code}')})"
    return (
        f'its process ended with exit code {code}: what it runs ended it, or a script without `if __name__ == "__main__":` '
        "failed when the process imported it; it said why above"
    )


def _outcome(call: Callable[[], Result]) -> Result | Exception:
    try:
        return call()
    except Exception as error:  # whatever is wrong with one case, the others go on
        return error
    except SystemExit as error:
        return UserError(f"what it runs ended it (exit code {error.code})")
