"""Tumors of the demo: what of a training they are lost by, and whether it is still so.

    python benchmarks/tumors.py WORK [--looks now bright_bones] [--trainings patch batch spread] [--seeds 0 1 2] [--threads 1]
    python benchmarks/evidence write     # the table

Each run is a file of benchmarks/results/tumors, and one that has its file is passed over. Data are those of `cdpd demo`, made
once for each look; the training is the demo's, in bfloat16. Two of these commands may share WORK once the data are there.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent / "evidence"))
from commands import of_trainers, run
from results import write_json
from tumor_tables import LOOKS, TRAININGS, path_of

from nnunetv2_cdpd.demo import phantom, workflow
from nnunetv2_cdpd.demo.datasets import DEMO_SOURCES, MERGE_SPEC, MERGED_ID, MERGED_NAME, write_raw_dataset, write_test_set
from nnunetv2_cdpd.demo.workflow import CONFIGURATION, PLANNER, PLANS, TARGET_SPACING_MM, DemoSize
from nnunetv2_cdpd.evaluation.nnunet import read_results
from nnunetv2_cdpd.pretrained.choices import RANDOM, VISION_ENCODER, VISION_WEIGHTS
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDDemo import nnUNetTrainerCDPDDemo

RECIPE = nnUNetTrainerCDPDDemo.recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--looks", nargs="+", choices=LOOKS, default=list(LOOKS))
    parser.add_argument("--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    for look in args.looks:
        folder = args.work.resolve() / look
        set_environment(folder, args.threads)
        prepare(folder, look)
        for seed in args.seeds:
            for training in args.trainings:
                if not path_of(look, training, seed).exists():
                    write_json(path_of(look, training, seed), measured(folder, training, seed))


def set_environment(folder: Path, threads: int) -> None:
    os.environ |= {
        VISION_ENCODER: "dinov2-small",  # as the demo had when these runs began
        "nnUNet_raw": str(folder / "nnUNet_raw"),
        "nnUNet_preprocessed": str(folder / "nnUNet_preprocessed"),
        VISION_WEIGHTS: RANDOM,
        **of_trainers(threads),
    }


def prepare(folder: Path, look: str) -> None:
    """Make, merge, plan and preprocess the data of a look, unless they are there."""
    done = folder / "prepared"
    if done.exists():
        return
    size, raw = DemoSize(), folder / "nnUNet_raw"
    with bones(LOOKS[look].bone_hu):
        for source in DEMO_SOURCES:
            write_raw_dataset(source, raw, size.training_cases_per_source)
        write_test_set(folder / "test", size.test_cases_per_scanner)
    (folder / "merge.yaml").write_text(MERGE_SPEC)
    sources = [str(source.dataset_id) for source in DEMO_SOURCES]
    merging = ["--id", str(MERGED_ID), "--name", MERGED_NAME, "--spec", str(folder / "merge.yaml"), "-np", "1"]
    run(["cdpd", "merge", "-d", *sources, *merging])
    planning = ["-overwrite_target_spacing", *[TARGET_SPACING_MM] * 3, "-npfp", "1", "-np", "1"]
    run(["nnUNetv2_plan_and_preprocess", "-d", str(MERGED_ID), "-pl", PLANNER, "-c", CONFIGURATION, *planning])
    done.touch()


@contextmanager
def bones(hu: float) -> Iterator[None]:
    """Phantoms whose ribs and vertebrae have this intensity."""
    former = phantom.BONE_HU
    phantom.BONE_HU = hu
    try:
        yield
    finally:
        phantom.BONE_HU = former


def measured(folder: Path, training: str, seed: int) -> dict:
    """Train, predict and score; Dice of every class, mean of the unseen volumes, and how large tumors are predicted."""
    out = folder / f"{training}_seed{seed}"
    os.environ |= {"nnUNet_results": str(out / "nnUNet_results"), "BENCHMARK_SEED": str(seed)}
    trainer = ["-tr", TRAININGS[training].trainer, "-p", PLANS]
    seconds = run(["nnUNetv2_train", str(MERGED_ID), CONFIGURATION, workflow.FOLD, *trainer, "-device", "cpu"])
    place = ["-i", str(folder / "test" / "images"), "-o", str(out / "predictions"), "-d", str(MERGED_ID), "-c", CONFIGURATION]
    run(["nnUNetv2_predict", *place, *trainer, "-f", workflow.FOLD, "-device", "cpu", "-npp", "1", "-nps", "1"])
    run(["cdpd", "evaluate", str(out / "predictions"), str(folder / "test" / "labels")])
    results = read_results(out / "predictions" / "summary.json")
    dice = {name: round(float(results.summary(name).means["Dice"]), 4) for name in results.reference.classes}
    tumors = [name for name in dice if name.endswith("_tumor")]
    sizes = {
        name: round(float(np.median([its.metrics[name]["n_pred"] / its.metrics[name]["n_ref"] for its in results.cases])), 4)
        for name in tumors
    }
    iterations = RECIPE.num_epochs * RECIPE.num_iterations_per_epoch
    return {"cpu_seconds": round(seconds), "iterations": iterations, "volumes": len(results.cases), "dice": dice, "size": sizes}


if __name__ == "__main__":
    main()
