"""What was submitted and what has become of it: a file in the folder of the jobs, and what Slurm and the jobs say of each.

in Slurm's queue: as Slurm says it ── else a file with an exit code: done or failed ── else, where a job before it did not
do its work: not run ── else: stopped (killed, cancelled, or out of time)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from nnunetv2_cdpd.errors import listed
from nnunetv2_cdpd.jobs import write_json
from nnunetv2_cdpd.jobs.shapes import NAME, list_of, none_or, read_shaped, record
from nnunetv2_cdpd.submit.script import CODE, LOG
from nnunetv2_cdpd.submit.steps import Submission

JOBS_FILE = "cdpd_submit.json"
_SHAPE = record({"jobs": list_of(record({"name": NAME, "files": list_of(NAME, 1), "id": none_or(NAME)}))})
_TAIL_BYTES = 4096


class State(Enum):
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_RUN = "not run"
    QUEUED = "in the queue"


@dataclass(frozen=True)
class Submitted:
    """A job, or an array of them, that was submitted.

    files: Names of the files of each, without ending.
    id: Slurm's; None: it is run here.
    """

    name: str
    files: tuple[str, ...]
    id: str | None

    def slurm_id(self, number: int) -> str:
        """Slurm's name of one job of it."""
        return str(self.id) if len(self.files) == 1 else f"{self.id}_{number}"


@dataclass(frozen=True)
class Told:
    """One job: what has become of it, with the reason where there is one."""

    name: str
    state: State
    why: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.state.value}{f' ({self.why})' if self.why else ''}"


def write_record(folder: Path, submitted: Sequence[Submitted]) -> None:
    """Write what was submitted, beside the scripts."""
    jobs = [{"name": job.name, "files": list(job.files), "id": job.id} for job in submitted]
    write_json(folder / JOBS_FILE, {"jobs": jobs})


def read_record(folder: Path) -> list[Submitted]:
    """What was submitted from a folder.

    Raises:
        UserError: No such thing is there.
    """
    way_out = "give the folder that `cdpd submit` named when it submitted (--logs)"
    content: Any = read_shaped(folder / JOBS_FILE, _SHAPE, way_out)
    return [Submitted(job["name"], tuple(job["files"]), job["id"]) for job in content["jobs"]]


def of_job(job: Submission, number: str | None) -> Submitted:
    """A job as it is kept."""
    return Submitted(job.name, job.files, number)


def states(folder: Path, submitted: Sequence[Submitted], queue: Mapping[str, str]) -> list[Told]:
    """What has become of each job, in order.

    Args:
        queue: Slurm's name of a job -> its state there, of those that have not ended.
    """
    told: list[Told] = []
    undone: list[str] = []  # of the array before: those that ended without having done their work, whose followers never run
    for job in submitted:
        its = [_state_of(folder, job, number, queue, undone) for number in range(len(job.files))]
        told += its
        undone = [one.name for one in its if one.state in (State.FAILED, State.STOPPED, State.NOT_RUN)]
    return told


def _state_of(folder: Path, job: Submitted, number: int, queue: Mapping[str, str], undone: Sequence[str]) -> Told:
    name = job.files[number]
    log = folder / f"{name}{LOG}"
    if (queued := queue.get(job.slurm_id(number))) is not None:
        return Told(name, State.QUEUED, queued)
    code = _code(folder / f"{name}{CODE}")
    if code == "0":
        return Told(name, State.DONE)
    if code:
        return Told(name, State.FAILED, f"exit code {code}; {_last_line(log)}{log}")
    if undone and not log.exists():
        return Told(name, State.NOT_RUN, f"because of {listed(list(undone), 3)}")
    if job.id is None:
        return Told(name, State.STOPPED, f"{_last_line(log)}{log}" if log.exists() else "it was never started")
    return Told(name, State.STOPPED, f"killed, cancelled or out of time: sacct -j {job.slurm_id(number)}; {log}")


def _code(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _last_line(log: Path) -> str:
    """The last line of a log, for a message."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    return next((f"{line[:200]}; " for line in reversed(lines) if line), "")
