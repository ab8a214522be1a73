"""The scripts of jobs run on this machine, one after the other, as a cluster would: a failed one stops those that need it."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.submit.record import State, Submitted, Told, of_job, states, write_record
from nnunetv2_cdpd.submit.script import LOG, SCRIPT
from nnunetv2_cdpd.submit.steps import Submission

_OF_SLURM = ("SLURM_", "SBATCH_")


def run_jobs(jobs: Sequence[Submission], folder: Path, tell: Callable[[str], None]) -> list[Told]:
    """Run scripts that lie in a folder; of an array all are run, one after the other.

    Returns:
        What has become of each.
    """
    submitted: list[Submitted] = [of_job(job, None) for job in jobs]
    write_record(folder, submitted)
    for number, job in enumerate(jobs, start=1):
        for part, name in enumerate(job.files):
            tell(f"{name}: runs, its output goes to {folder / name}{LOG}")
            _run(job, folder, name, part if len(job.files) > 1 else None)
        if any(one.state is not State.DONE for one in states(folder, submitted[:number], {})):
            break
    return states(folder, submitted, {})


def check_one_machine(jobs: Sequence[Submission]) -> None:
    """Raise UserError for a job that asks for several."""
    if several := next((job for job in jobs if job.resources.nodes > 1), None):
        raise UserError(f"argument nodes {several.resources.nodes}: this is one machine; submit to a cluster, or leave it out")


def _run(job: Submission, folder: Path, name: str, part: int | None) -> None:
    """One script, with its processes as a group that ends with it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_SLURM)}
    if part is not None:
        environment["SLURM_ARRAY_TASK_ID"] = str(part)
    with open(folder / f"{name}{LOG}", "ab") as log:
        process = subprocess.Popen(
            ["bash", str(folder / f"{job.name}{SCRIPT}")],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
