"""Jobs of a real Slurm killed at random, and what is lost: conversions and a prediction in parts, by `cdpd submit`.

    python benchmarks/submit_kills.py FOLDER [--kills 100] [--cases 600] [--jobs 6] [--kills-of-prediction 10] [--seed 0]
    python benchmarks/evidence write     # the table, from benchmarks/results/submit_kills

As root, with Debian's slurm-wlm and munge: a cluster of two nodes on this machine, on loopback, which ends with the script. Jobs
are killed by -9, requeued, told that their time is up, cancelled, or preempted by another partition. Where all are done before
the kills are, another conversion begins. Each one's files are compared with those of a run that nobody disturbs.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parent / "evidence"))
from builders.campaign import convert_command, dataset_digests, environment, undisturbed, write_source
from builders.kills import Killer
from builders.slurm import Slurm, running_slurm, why_not
from figures import Figures

IMAGES = 60


def predictions(args: argparse.Namespace, slurm: Slurm) -> tuple[dict[str, str], dict[str, str], Killer]:
    """Files of a prediction whose jobs are killed, those of one that nobody disturbs, and who killed."""
    from builders import model as tiny_model
    from builders.prediction import digests

    folder = args.folder / "prediction"
    (folder / "images").mkdir(parents=True)
    model = tiny_model.write_model(folder / "model", folds=(0,))
    for number in range(IMAGES):
        image = sitk.GetImageFromArray(tiny_model.make_image((24, 41, 38), seed=number))
        sitk.WriteImage(image, str(folder / f"images/case_{number:02d}_0000.nii.gz"))
    variables = environment(folder / "nnunet")
    command = ["predict", "-i", str(folder / "images"), "-m", str(model), "-device", "cpu", "--stats", "-npp", "0", "-nps", "0"]
    alone = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", *command, "-o", str(folder / "undisturbed")]
    subprocess.run(alone, env=variables, cwd=folder, check=True, capture_output=True)
    killer = Killer(slurm, folder, variables, seed=args.seed)
    # What a submission has left behind is gone on from, as a user does who submits again.
    submitted = ["--jobs", "3", "--", *command, "-o", str(folder / "killed"), "--continue_prediction"]
    killer.run(submitted, kills=args.kills_of_prediction, seconds=3000)
    return digests(folder / "killed"), digests(folder / "undisturbed"), killer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder of a short name")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--kills-of-prediction", type=int, default=10)
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
        found, expected, killer = predictions(args, slurm)
        lost += len(expected.keys() - found.keys())
        half += sum(found[name] != expected.get(name) for name in found)
        killed += killer.done
        print(f"prediction of {IMAGES} images: {killer.done.total()} killed, {killer.submissions} submissions", flush=True)
    minutes = (time.monotonic() - begun) / 60
    setting = {"conversions": conversions, "cases": args.cases, "parts": args.jobs, "submissions": submissions}
    outcome = {"files_lost": lost, "files_other_or_left_over": half}
    figures = Figures(__file__, f"seed{args.seed}", [("killed by", ""), ("jobs", "d")], **setting, **outcome)
    for way, count in killed.most_common():
        figures.add(way, count)
    figures.add(f"**together, in {minutes:.0f} minutes**", killed.total())
    figures.write()
    print(f"files lost: {lost}; files that are other than without kills, or left over: {half}")
    return 1 if lost or half else 0


if __name__ == "__main__":
    sys.exit(main())
