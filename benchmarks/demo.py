"""`cdpd demo` on two cores with AVX2 only, as on most laptops: CPU time, and Dice of every class on unseen volumes.

    python benchmarks/demo.py OUT [--quick] [--runs 1] [--threads 2]

On a machine with AVX-512, PyTorch and oneDNN are told to do without it, and without bfloat16. The training is seeded, so runs
differ by what the order of sums in threads makes of it. On a machine that others use too, the seconds of the steps
(which the demo prints last) are too long; quote CPU time.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from nnunetv2_cdpd.evaluation.nnunet import read_results

AVX2_ONLY = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# Threads that wait for each other do not count as work, also where the cores are busy with something else.
NO_SPINNING = {"OMP_WAIT_POLICY": "PASSIVE"}


def cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="new folder; every run makes one in it")
    parser.add_argument("--quick", action="store_true", help="cdpd demo --quick")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="cores that the demo may use (default: %(default)s)")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])

    demo = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", "demo", "-device", "cpu", *["--quick"] * arguments.quick]
    rows = []
    for run in range(arguments.runs):
        out = arguments.out / f"run_{run}"
        started, before = time.time(), cpu_seconds()
        subprocess.run([*demo, "-o", str(out)], check=True, env={**os.environ, **AVX2_ONLY, **NO_SPINNING})
        rows.append((run, time.time() - started, cpu_seconds() - before, read_results(out / "predictions" / "summary.json")))

    classes = rows[0][-1].reference.classes
    print(f"\n| run | CPU min | min | {' | '.join(classes)} | mean |")
    print("|---|" + "---:|" * (len(classes) + 3))
    for run, seconds, cpu, results in rows:
        dice = [results.summary(name).means["Dice"] for name in classes]
        cells = [f"{cpu / 60:.1f}", f"{seconds / 60:.1f}", *(f"{value:.3f}" for value in dice)]
        print(f"| {run} | {' | '.join(cells)} | {results.foreground_means()['Dice']:.3f} |")


if __name__ == "__main__":
    main()
