"""100 jobs of a real Slurm killed at random, and what is lost: conversions in parts, by `cdpd submit`.

    python benchmarks/submit_kills.py FOLDER [--kills 100] [--cases 150] [--jobs 6] [--seed 0]

As root, with Debian's slurm-wlm and munge: a cluster of two nodes on this machine, on loopback, which ends with the script. Jobs
are killed by -9, requeued, told that their time is up, cancelled, or preempted by another partition. Where all are done before
the kills are, another conversion begins. Each one's dataset is compared, file by file, with that of an undisturbed conversion.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from builders.campaign import convert_command, dataset_digests, environment, undisturbed, write_source
from builders.kills import Killer
from builders.slurm import running_slurm, why_not


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder of a short name")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (reason := why_not()) is not None:
        print(reason, file=sys.stderr)
        return 1
    args.folder.mkdir(parents=True)
    (args.folder / "slurm").mkdir()
    source = write_source(args.folder / "source", args.cases)
    expected = undisturbed(source, args.folder / "undisturbed")
    killed: Counter[str] = Counter()
    submissions, lost, half, begun = 0, 0, 0, time.monotonic()
    conversions = 0
    with running_slurm(args.folder / "slurm") as slurm:
        while killed.total() < args.kills:
            work = args.folder / f"killed_{conversions}"
            killer = Killer(slurm, work, environment(work), seed=args.seed + conversions)
            killer.run(
                ["--jobs", str(args.jobs), "--", *convert_command(source)], kills=args.kills - killed.total(), seconds=3000
            )
            found = dataset_digests(work)
            lost += len(expected.keys() - found.keys())
            half += sum(found[name] != expected.get(name) for name in found)
            killed += killer.done
            submissions += killer.submissions
            conversions += 1
            print(f"conversion {conversions}: {killer.done.total()} killed, {killer.submissions} submissions", flush=True)
    minutes = (time.monotonic() - begun) / 60
    print(f"{killed.total()} jobs killed in {minutes:.0f} min: " + ", ".join(f"{way} {killed[way]}" for way in sorted(killed)))
    print(f"{conversions} conversions of {args.cases} cases in {args.jobs} parts, {submissions} submissions")
    print(f"files lost: {lost}; files that are other than without kills, or left over: {half}")
    return 1 if lost or half else 0


if __name__ == "__main__":
    sys.exit(main())
