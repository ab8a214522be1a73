"""What training on partial labels brings, on real CT: stock nnU-Net in several ways against our trainer and its ablations.

Data: the 30 patients of OpenKBP (github ababier/open-kbp, MIT) that have all seven organs; 24 to train on, dealt out to three
sources that each annotate other organs, 6 kept back for the test. Same plans, patches, iterations and seed for every arm.

    python benchmarks/partial_labels.py DATA OUT [--seeds 0 1] [--arms ours background ...] [--threads 1]

does what is not done yet (a training that was stopped goes on), through the stock commands, and prints the table of what
is finished. Prior to it: pip install .
"""

import argparse
import csv
import json
import os
import platform
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openkbp
import SimpleITK as sitk
import torch
from openkbp import VALUES

from nnunetv2_cdpd.demo.weights import choose_weights

SOURCES = {721: "Neuro", 722: "Glands", 723: "Airways"}  # the organs of openkbp.SOURCES, in the same order
MERGED, COMPLETE, BACKGROUND = 730, 731, 732
NAMES = {**SOURCES, MERGED: "Merged", COMPLETE: "Complete", BACKGROUND: "Background"}
TEST_EVERY = 5
PLANS = "nnUNetBenchmarkPlans"


@dataclass(frozen=True)
class Arm:
    """One way to train; several datasets are one network each, whose label maps are joined.

    words: What it is, for the table.
    """

    trainer: str
    datasets: tuple[int, ...]
    words: str


ARMS = {
    "ours": Arm("nnUNetTrainerCDPDBenchmark", (MERGED,), "nnUNetTrainerCDPD"),
    "background": Arm("nnUNetTrainerBenchmark", (BACKGROUND,), "nnU-Net, what is not annotated taken as background"),
    "background_heads": Arm("nnUNetTrainerBenchmark", (MERGED,), "the same with a sigmoid head per organ (nnU-Net's regions)"),
    "complete": Arm("nnUNetTrainerBenchmark", (COMPLETE,), "nnU-Net, every organ of every patient (the ceiling)"),
    "no_jitter": Arm("nnUNetTrainerCDPDBenchmark_noJitter", (MERGED,), "nnUNetTrainerCDPD, organs in the centre of patches"),
    "loss_only": Arm("nnUNetTrainerCDPDBenchmark_lossOnly", (MERGED,), "our loss and loader on nnU-Net's U-Net"),
    "no_vision": Arm("nnUNetTrainerCDPDBenchmark_noVision", (MERGED,), "nnUNetTrainerCDPD without vision tokens"),
    "no_task_prompt": Arm("nnUNetTrainerCDPDBenchmark_noTaskPrompt", (MERGED,), "nnUNetTrainerCDPD without task prompt"),
    "no_text": Arm("nnUNetTrainerCDPDBenchmark_noText", (MERGED,), "nnUNetTrainerCDPD without text modulation"),
    "per_source": Arm("nnUNetTrainerBenchmark", tuple(SOURCES), "one nnU-Net per source, joined"),
    "ours_complete": Arm("nnUNetTrainerCDPDBenchmark", (COMPLETE,), "nnUNetTrainerCDPD, every organ of every patient"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with images/, labels/ and annotated.json")
    parser.add_argument("out", type=Path, help="working folder; finished steps in it are not done again")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument(
        "--foreground",
        type=float,
        default=1.0,
        help="share of patches that hold an organ; another share needs another OUT (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        type=int,
        choices=range(TEST_EVERY),
        default=0,
        help="which fifth of the patients is kept back; another one needs another OUT (default: %(default)s)",
    )
    parser.add_argument(
        "--iterations",
        type=int,
        default=1200,
        help="of each training, in multiples of 60; another number needs another OUT (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, help="of a training on the CPU; default: nnU-Net's, one for each core")
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()

    out = args.out.resolve()
    pretraining = set_environment(out, args.device)
    os.environ |= {
        "BENCHMARK_FOREGROUND": str(args.foreground),
        "BENCHMARK_ITERATIONS": str(args.iterations),
    }
    if args.threads:
        os.environ |= {"BENCHMARK_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    make_datasets(args.data, out, args.split)
    plan(out)
    for seed in args.seeds:
        os.environ["BENCHMARK_SEED"] = str(seed)
        os.environ["nnUNet_results"] = str(out / f"results_{seed}")
        for name in args.arms:
            run_arm(ARMS[name], out / f"scores_{seed}" / name, out, args.iterations, args.device)
    print_table(out, args.seeds)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, device {args.device}, torch {torch.__version__}"
    print(*pretraining, machine, sep="\n")


def set_environment(out: Path, device: str) -> list[str]:
    """nnU-Net's folders and our weights; returns the choice of weights in words."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        os.environ[variable] = str(out / variable)
        (out / variable).mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_results"] = str(out)
    os.environ["nnUNet_extTrainer"] = str(Path(__file__).parent / "trainers")
    if device == "cpu":
        os.environ.setdefault("nnUNet_n_proc_DA", "0")
        os.environ.setdefault("nnUNet_def_n_proc", "2")
    choices, words = choose_weights()
    os.environ.update(choices)
    return words


def make_datasets(data: Path, out: Path, split: int) -> None:
    """Three sources, their merge, the same patients with every organ, and the test set."""
    annotated = json.loads((data / "annotated.json").read_text())
    complete = sorted(patient for patient, organs in annotated.items() if len(organs) == len(VALUES))
    test = complete[split::TEST_EVERY]
    training = [patient for patient in complete if patient not in test]
    wanted = {out / "test": (test, tuple(VALUES)), folder(out, COMPLETE): (training, tuple(VALUES))}
    for index, (dataset, organs) in enumerate(zip(SOURCES, openkbp.SOURCES.values())):
        wanted[folder(out, dataset)] = (training[index :: len(SOURCES)], organs)
    for path, (patients, organs) in wanted.items():
        if not (path / "dataset.json").exists():
            openkbp.write_dataset(path, data, patients, organs)
    if not (folder(out, BACKGROUND) / "dataset.json").exists():
        write_with_background(out)
    openkbp.run(["cdpd", "merge", "-d", *map(str, SOURCES), "--id", str(MERGED), "--name", NAMES[MERGED]])


def write_with_background(out: Path) -> None:
    """The complete dataset's images with the label maps of the three sources: an ordinary nnU-Net dataset."""
    joint, complete = folder(out, BACKGROUND), folder(out, COMPLETE)
    shutil.copytree(complete / "imagesTr", joint / "imagesTr", symlinks=True, dirs_exist_ok=True)
    (joint / "labelsTr").mkdir(exist_ok=True)
    for dataset in SOURCES:
        labels = json.loads((folder(out, dataset) / "dataset.json").read_text())["labels"]
        for path in sorted((folder(out, dataset) / "labelsTr").glob("*.nii.gz")):
            image = sitk.ReadImage(str(path))
            array = sitk.GetArrayFromImage(image)
            joined = np.zeros_like(array)
            for organ, value in labels.items():
                if value:
                    joined[array == value] = VALUES[organ]
            label_map = sitk.GetImageFromArray(joined)
            label_map.CopyInformation(image)
            sitk.WriteImage(label_map, str(joint / "labelsTr" / path.name))
    shutil.copy(complete / "dataset.json", joint / "dataset.json")


def folder(out: Path, dataset: int, kind: str = "nnUNet_raw") -> Path:
    return out / kind / f"Dataset{dataset}_{NAMES[dataset]}"


def plan(out: Path) -> None:
    """Plan and preprocess every dataset, then write plans with the bare U-Net, on which all trainers stand."""
    for dataset in NAMES:
        preprocessed = folder(out, dataset, "nnUNet_preprocessed")
        if (preprocessed / f"{PLANS}.json").exists():
            continue
        openkbp.run(
            ["nnUNetv2_plan_and_preprocess", "-d", str(dataset), "-pl", "nnUNetPlannerCDPDSmall", "-c", "3d_fullres", "-np", "2"]
            + ["-overwrite_target_spacing", *openkbp.TARGET_SPACING]
        )
        plans = json.loads((preprocessed / "nnUNetCDPDSmallPlans.json").read_text())
        plans["plans_name"] = PLANS
        configuration = plans["configurations"]["3d_fullres"]
        architecture = configuration["architecture"]
        kwargs = architecture["arch_kwargs"]
        architecture["network_class_name"] = kwargs.pop("unet_class_name")
        for added in ("fused_stages", "vision", "patch_size", "text", "task"):
            kwargs.pop(added)
        (preprocessed / f"{PLANS}.json").write_text(json.dumps(plans, indent=2))


def run_arm(arm: Arm, scores: Path, out: Path, iterations: int, device: str) -> None:
    """Train, predict the test patients and score them."""
    if (scores / "metrics.csv").exists():
        return
    common = ["-tr", arm.trainer, "-p", PLANS, "-device", device]
    seconds = 0.0
    for dataset in arm.datasets:
        model = folder(Path(os.environ["nnUNet_results"]), dataset, ".") / f"{arm.trainer}__{PLANS}__3d_fullres" / "fold_all"
        if not (model / "checkpoint_final.pth").exists():
            going_on = ["--c"] if (model / "checkpoint_latest.pth").exists() else []
            before = cpu_seconds()
            openkbp.run(["nnUNetv2_train", str(dataset), "3d_fullres", "all", *common, *going_on])
            if not going_on:
                (model / "cpu_seconds.json").write_text(json.dumps(cpu_seconds() - before))
        timing = model / "cpu_seconds.json"
        seconds += json.loads(timing.read_text()) if timing.exists() else float("nan")
        openkbp.run(
            ["nnUNetv2_predict", "-i", str(out / "test" / "imagesTr"), "-o", str(scores / str(dataset)), "-d", str(dataset)]
            + ["-c", "3d_fullres", "-f", "all", "-npp", "1", "-nps", "1", *common]
        )
    predictions = scores / str(arm.datasets[0]) if len(arm.datasets) == 1 else join(scores, arm.datasets, out)
    openkbp.run(["cdpd", "evaluate", str(predictions), str(out / "test" / "labelsTr"), "-o", str(scores)])
    (scores / "cost.json").write_text(json.dumps({"cpu_seconds_per_iteration": seconds / iterations}))


def cpu_seconds() -> float:
    """CPU time of finished child processes; other jobs on the machine hardly change it, unlike wall time."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def join(scores: Path, datasets: tuple[int, ...], out: Path) -> Path:
    """Label maps of several networks as one; where two claim a voxel, the first in the order of sources keeps it."""
    joined = scores / "joined"
    joined.mkdir(parents=True, exist_ok=True)
    for path in sorted((scores / str(datasets[0])).glob("*.nii.gz")):
        result = None
        for dataset in datasets:
            labels = json.loads((folder(out, dataset) / "dataset.json").read_text())["labels"]
            image = sitk.ReadImage(str(scores / str(dataset) / path.name))
            array = sitk.GetArrayFromImage(image)
            result = np.zeros_like(array) if result is None else result
            for organ, value in labels.items():
                if value:
                    result[(array == value) & (result == 0)] = VALUES[organ]
        label_map = sitk.GetImageFromArray(result)
        label_map.CopyInformation(image)
        sitk.WriteImage(label_map, str(joined / path.name))
    (joined / "dataset.json").write_text((out / "test" / "dataset.json").read_text())
    return joined


def print_table(out: Path, seeds: list[int]) -> None:
    """Dice per organ, mean over seeds, and CPU seconds per iteration of the finished arms, as Markdown."""
    print(f"\n| arm | {' | '.join(VALUES)} | mean | CPU s per iteration | seeds |")
    print(f"|---|{'---:|' * (len(VALUES) + 3)}")
    for name, arm in ARMS.items():
        finished = [out / f"scores_{seed}" / name for seed in seeds if (out / f"scores_{seed}" / name / "cost.json").exists()]
        if not finished:
            continue
        dice = np.array([[scores_of(path)[organ] for organ in VALUES] for path in finished])
        means = dice.mean(1)
        spread = f" ± {means.std(ddof=1):.3f}" if len(means) > 1 else ""
        cost = np.nanmean([json.loads((path / "cost.json").read_text())["cpu_seconds_per_iteration"] for path in finished])
        organs = " | ".join(f"{value:.3f}" for value in dice.mean(0))
        print(f"| {arm.words} | {organs} | {means.mean():.3f}{spread} | {cost:.2f} | {len(finished)} |")


def scores_of(path: Path) -> dict[str, float]:
    """Mean Dice of each organ over the test patients, from the CSV of `cdpd evaluate`."""
    values: dict[str, list[float]] = {organ: [] for organ in VALUES}
    with open(path / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["class"] in values:
                values[row["class"]].append(float(row["Dice"]))
    return {organ: float(np.mean(dice)) for organ, dice in values.items()}


if __name__ == "__main__":
    main()
