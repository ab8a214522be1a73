"""`cdpd demo` on two cores with AVX2 only, as on most laptops: CPU time, and Dice of every class on unseen volumes.

    python benchmarks/demo.py OUT [--quick] [--runs 1] [--threads 2] [--shared]
    python benchmarks/evidence write     # the table, and what README.md says of it

Each run is a file of benchmarks/results/demo.

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

sys.path.append(str(Path(__file__).parent / "evidence"))
from demo_tables import DemoRun, demo_table, write_run

from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDDemo import nnUNetTrainerCDPDDemo

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
    parser.add_argument("--shared", action="store_true", help="other jobs run on these cores; the table says so")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])

    demo = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", "demo", "-device", "cpu", *["--quick"] * arguments.quick]
    found = []
    for run in range(arguments.runs):
        out = arguments.out / f"run_{run}"
        started, before = time.time(), cpu_seconds()
        subprocess.run([*demo, "-o", str(out)], check=True, env={**os.environ, **AVX2_ONLY, **NO_SPINNING})
        minutes, cpu_minutes = (time.time() - started) / 60, (cpu_seconds() - before) / 60
        results = read_results(out / "predictions" / "summary.json")
        dice = {name: round(results.summary(name).means["Dice"], 4) for name in results.reference.classes}
        seed = nnUNetTrainerCDPDDemo.recipe.seed
        found.append(DemoRun(run, seed, arguments.quick, round(cpu_minutes, 2), arguments.shared, len(results.cases), dice))
        write_run(found[-1])
        print(f"run {run} took {minutes:.1f} min", flush=True)
    print(f"\n{demo_table(found)}")


if __name__ == "__main__":
    main()
