"""Commands: nnU-Net's and ours, run as a user would."""

import resource
import subprocess
from pathlib import Path

from nnunetv2_cdpd.pretrained.choices import LEARNED, TEXT_WEIGHTS

TRAINERS = Path(__file__).parents[1] / "trainers"


def of_trainers(threads: int) -> dict[str, str]:
    """Variables for a training by one of benchmarks/trainers on some cores, in bfloat16 and with learned text embeddings."""
    return {
        "nnUNet_extTrainer": str(TRAINERS),
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": str(threads),
        "BENCHMARK_THREADS": str(threads),
        "BENCHMARK_HALF": "1",
        # of the trainers beside, which are looked through
        "BENCHMARK_ITERATIONS": "60",
        "BENCHMARK_FOREGROUND": "1",
        TEXT_WEIGHTS: LEARNED,
    }


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
