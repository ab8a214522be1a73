"""Jobs of a Slurm that are killed at random, in every way in which a cluster stops a job, until they have done their work."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from builders.slurm import CPUS, NODES, Slurm

WAYS = ("kill -9", "scontrol requeue", "time nearly up", "scancel", "preemption")
_NEEDED = 1.5  # seconds that a job runs at least before it is killed: Python has begun


class Killer:
    """Submits a command again and again, and kills its jobs while there are kills left.

    done: Way -> how many jobs were killed so.
    submissions: How often the command was submitted.
    """

    def __init__(self, slurm: Slurm, folder: Path, environment: dict[str, str], seed: int) -> None:
        self.slurm, self.folder, self.random = slurm, folder, random.Random(seed)
        self.environment = {**environment, "SLURM_CONF": slurm.environment["SLURM_CONF"]}
        self.done: Counter[str] = Counter()
        self.submissions = 0

    def run(self, command: Sequence[str], kills: int, ways: Sequence[str] = WAYS, seconds: float = 900) -> None:
        """Until the command has done its work, which it may before it was killed so often.

        Raises:
            AssertionError: A job fails by itself.
        """
        end = time.monotonic() + seconds
        while True:
            logs = self.folder / f"logs_{self.submissions}"
            self._cdpd("submit", "--logs", str(logs), *command)
            self.submissions += 1
            while self.slurm.call("squeue", "-h", "-o", "%i").strip():
                if time.monotonic() > end:
                    raise TimeoutError(f"not done after {seconds} s and {self.done}")
                self.slurm.hurry()
                if self.done.total() < kills:
                    self._kill(self.random.choice(ways))
                time.sleep(0.2)
            code, told = self._cdpd("submit", "--status", str(logs), check=False)
            if code == 0:
                return
            if self.done.total() >= kills and "failed" in told and "exit code 1;" in told:
                raise AssertionError(f"failed by itself:\n{told}")

    def _cdpd(self, *arguments: str, check: bool = True) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "nnunetv2_cdpd.cli.main", *arguments],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(done.stderr)
        return done.returncode, done.stdout

    def _kill(self, way: str) -> None:
        """One running job, or for a preemption all of them."""
        rows = [line.split() for line in self.slurm.call("squeue", "-h", "-r", "-t", "R", "-o", "%i %M %P %A").splitlines()]
        running = [row for row in rows if row[2] == "normal" and _seconds(row[1]) >= _NEEDED]
        if not running:
            return
        job, _, _, raw = self.random.choice(running)
        with suppress(RuntimeError, ProcessLookupError):  # it has ended meanwhile
            if way == "kill -9":
                if not (processes := _processes_of(raw)):
                    return
                os.kill(self.random.choice(processes), signal.SIGKILL)
            elif way == "scontrol requeue":
                self.slurm.call("scontrol", "requeue", job)
            elif way == "time nearly up":
                self.slurm.call("scancel", "--batch", "--signal=USR2", job)
            elif way == "scancel":
                self.slurm.call("scancel", job)
            else:
                urgent = ["-p", "urgent", "-N", str(len(NODES)), "-c", str(CPUS), "--output=/dev/null"]
                self.slurm.call("sbatch", *urgent, "--wrap", "sleep 0.2")
                self.done[way] += len(running) - 1
            self.done[way] += 1


def _seconds(text: str) -> int:
    """Of a time as squeue tells it: M:SS or H:MM:SS."""
    *hours, minutes, seconds = text.split(":")
    return int(hours[0] if hours else 0) * 3600 + int(minutes) * 60 + int(seconds)


def _processes_of(job: str) -> list[int]:
    """Processes of Python that belong to a job of Slurm."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if re.search(rb"(^|\0)SLURM_JOB_ID=%s\0" % job.encode(), (path / "environ").read_bytes()):
                found += [int(path.name)] if b"nnunetv2_cdpd" in (path / "cmdline").read_bytes() else []
    return found
