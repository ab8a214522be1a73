"""Commands: nnU-Net's and ours, run as a user would."""

import resource
import subprocess


def run(command: list[str]) -> float:
    """Run a command, print it, and return its CPU seconds, with those of the processes that it starts."""
    print("$", " ".join(command), flush=True)
    before = _of_children()
    subprocess.run(command, check=True)
    return _of_children() - before


def _of_children() -> float:
    """CPU time of finished child processes; other jobs on the machine hardly change it, unlike wall time."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
