"""Slurm's own commands: sbatch, one step after the other; scancel where a later one is refused; squeue for what has not ended."""

import getpass
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from nnunetv2_cdpd.errors import UserError, listed, reason
from nnunetv2_cdpd.submit.record import Submitted, of_job, write_record
from nnunetv2_cdpd.submit.script import SCRIPT
from nnunetv2_cdpd.submit.steps import Submission

_OF_SLURM = re.compile(r"^\w+: (error: )?", re.MULTILINE)  # before each line that a command says


def submit_jobs(jobs: Sequence[Submission], folder: Path, after: Sequence[str], tell: Callable[[str], None]) -> list[Submitted]:
    """Submit scripts that lie in a folder, each after the one before has done its work; all of them or none.

    Args:
        after: Slurm's ids of jobs that the first one waits for.

    Raises:
        UserError: A job to wait for is unknown, or Slurm refuses one; those before it are cancelled, which are in
            the record of the folder.
    """
    for number in after:
        _check_known(number)
    submitted: list[Submitted] = []
    wait_for = list(after)
    for job in jobs:
        try:
            number = _sbatch(folder / f"{job.name}{SCRIPT}", wait_for)
        except UserError as error:
            raise UserError(f"{job.name}: {error}{_cancelled(submitted)}") from error
        submitted.append(of_job(job, number))
        write_record(folder, submitted)
        jobs_there = f"job {number}" if len(job.calls) == 1 else f"jobs {number}_0 to {number}_{len(job.calls) - 1}"
        tell(f"{job.name}: {jobs_there}{f', after {listed(wait_for)}' if wait_for else ''}")
        wait_for = [number]
    return submitted


def dependency(after: Sequence[str]) -> list[str]:
    """Options of sbatch for a job that waits for others to have done their work, and goes where they have not."""
    return [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"] if after else []


def queued_jobs() -> dict[str, str]:
    """Slurm's name of a job of the user's -> its state and the reason, of all that have not ended."""
    output = _call(["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%i|%T|%r"])
    rows = [line.split("|") for line in output.splitlines() if line.count("|") == 2]
    return {row[0].strip(): f"{row[1].lower()}, {row[2]}" if row[2] not in ("None", "") else row[1].lower() for row in rows}


def _check_known(number: str) -> None:
    """Raise UserError for a job that Slurm does not know: it would be taken for one that has done its work."""
    try:
        _call(["scontrol", "show", "job", number])
    except UserError as error:
        raise UserError(
            f"argument after {number}: Slurm knows no such job, or no more ({error}); leave it out if it has done its work"
        ) from error


def _cancelled(submitted: Sequence[Submitted]) -> str:
    """Cancel jobs, since a later one is refused; how that went, to end a message with."""
    numbers = [str(one.id) for one in submitted]
    try:
        if numbers:
            _call(["scancel", *numbers])
    except UserError as error:
        return f"; the jobs before it could not be cancelled ({error}): scancel {' '.join(numbers)}"
    return "; the jobs before it were cancelled" if numbers else ""


def _sbatch(script: Path, after: Sequence[str]) -> str:
    output = _call(["sbatch", "--parsable", *dependency(after), str(script)])
    found = re.match(r"(\d+)", output.strip().splitlines()[-1] if output.strip() else "")  # "12" or "12;cluster"
    if found is None:
        raise UserError(f"sbatch said {output.strip()!r}, which is no job's number; look with squeue what it did")
    return found[1]


def _call(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise UserError(
            f"there is no {command[0]} here, so no Slurm; submit on a machine that reaches the cluster, or give --cluster local"
        ) from error
    if done.returncode:
        why = _OF_SLURM.sub("", _OF_SLURM.sub("", done.stderr.strip() or done.stdout.strip())) or f"exit code {done.returncode}"
        raise UserError(f"{command[0]} says: {reason(RuntimeError(why))}; change what it names, or ask whoever runs the cluster")
    return done.stdout
