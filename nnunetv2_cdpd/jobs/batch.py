"""Batch: many cases, one after the other or at a time; what is done is not done again, and no case stops the others.

    jobs ── those that the record holds: before
         └─ the others ── runner ── result ── entered in the record: done
                                 └─ error, as a line: failed

Every command that works on cases is plan -> batch -> finish: it makes the jobs, `run`s them, and writes what sums them up.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from nnunetv2_cdpd.errors import UserError, is_text, one_line

_NO_TEXT = "its name holds bytes that are no UTF-8; rename its files"

Job = TypeVar("Job")
Result = TypeVar("Result")
_Job = TypeVar("_Job", contravariant=True)
_Result = TypeVar("_Result", contravariant=True)

# Runs jobs and yields each with its result, or with what went wrong, as they finish: `in_processes` (processes.py), or another.
Runner = Callable[[Sequence[Job]], Iterator[tuple[Job, Result | Exception]]]


class Record(Protocol[_Job, _Result]):
    """Knows which jobs are done, so that a second call does the rest; `record.FileRecord` is one in a file."""

    def holds(self, name: str, job: _Job) -> bool:
        """Whether a job is done, from what it would be made from now."""
        ...

    def enter(self, name: str, job: _Job, result: _Result) -> None:
        """Note that a job is done; its files are in place."""
        ...


@dataclass
class Outcome(Generic[Result]):
    """What came of a batch.

    done: Case -> result, of those that were done now, in the order of the jobs.
    before: Cases that an earlier call has done.
    failed: Case -> why there is no result, in one line.
    """

    done: dict[str, Result] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def check_any(self, what: str) -> None:
        """Raise UserError if all cases failed; it names the first one.

        Args:
            what: What became of no case, like "scored".
        """
        if self.failed and not self.done and not self.before:
            case, reason = next(iter(self.failed.items()))
            raise UserError(f"none of {len(self.failed)} cases could be {what}; case {case!r}: {reason}")


def run(
    jobs: Mapping[str, Job],
    runner: Runner[Job, Result],
    *,
    title: str,
    record: Record[Job, Result] | None = None,
    unit: str = "case",
    progress: bool = True,
) -> Outcome[Result]:
    """Run the jobs that are not done.

    Args:
        jobs: Case -> what to do for it; an object of its own each.
        record: Of an earlier call; it learns what is done. None: everything is done anew.
        title: Beside the progress bar.
        unit: Of the progress bar.
        progress: Show it.
    """
    from tqdm import tqdm  # not above: the runner of exported models, which writes as we do, has none

    # A name that is no text ends the process in SimpleITK.
    failed = {name: _NO_TEXT for name in jobs if not is_text(name)}
    todo = {name: job for name, job in jobs.items() if name not in failed and (record is None or not record.holds(name, job))}
    names = {id(job): name for name, job in todo.items()}
    done: dict[str, Result] = {}
    results = runner(list(todo.values()))
    for job, result in tqdm(results, title, len(todo), unit=unit, disable=not progress or not todo):
        name = names[id(job)]
        if isinstance(result, Exception):
            failed[name] = one_line(result)
            continue
        if record is not None:
            record.enter(name, job, result)
        done[name] = result
    return Outcome(
        {name: done[name] for name in jobs if name in done},
        [name for name in jobs if name not in todo and name not in failed],
        {name: failed[name] for name in jobs if name in failed},
    )
