"""Vision tokens in the setting of openkbp.py: none, those of a random ViT and those of DINOv2, from several seeds.

    python benchmarks/openkbp_vision.py DATA WORK --vision-weights FILE [--arms none random_closed closed] [--seeds 0 1 2]
    python benchmarks/evidence write     # the table

DATA: that of openkbp.py; FILE: DINOv2 ViT-S/14. Sources, plans and recipe are those of openkbp.py, but for plans with vision
tokens, which the arm `none` takes out again, a training under a seed, in bfloat16, and no final validation. Each run is a file
of benchmarks/results/openkbp_vision, and one that has its file is passed over. Two of these commands may share WORK, each with
arms or seeds of its own, once the first has planned.
"""

import argparse
import os
import sys
from pathlib import Path

import openkbp

sys.path.append(str(Path(__file__).parent / "evidence"))
from commands import of_trainers, run
from results import Result, path_of, versions, write_result
from study import PRETRAINED
from vision import ARMS, OPENKBP

from nnunetv2_cdpd.pretrained.choices import RANDOM, VISION_ENCODER, VISION_WEIGHTS
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall

TRAINERS = {"none": "nnUNetTrainerOpenKBP_noVision", "random_closed": "nnUNetTrainerOpenKBP", "closed": "nnUNetTrainerOpenKBP"}
PLANNER, PLANS, ENCODER = "nnUNetPlannerCDPDSmall", "nnUNetCDPDSmallPlans", "dinov2-small"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with images/, labels/ and annotated.json")
    parser.add_argument("work", type=Path)
    parser.add_argument("--vision-weights", type=Path, help="file of DINOv2 ViT-S/14, which the arm `closed` needs")
    parser.add_argument("--arms", nargs="+", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if "closed" in args.arms and args.vision_weights is None:
        parser.error("the arm `closed` has tokens of DINOv2; give --vision-weights, a file of DINOv2 ViT-S/14")
    work = args.work.resolve()
    set_environment(work, args.threads)
    openkbp.make_datasets(args.data, work)
    openkbp.plan(work, PLANNER, PLANS)
    for seed in args.seeds:
        for arm in args.arms:
            if not path_of(OPENKBP, arm, 0, seed).exists():
                write_result(measured(work, arm, seed, args.vision_weights))


def set_environment(work: Path, threads: int) -> None:
    os.environ |= {
        "nnUNet_raw": str(work / "nnUNet_raw"),
        "nnUNet_preprocessed": str(work / "nnUNet_preprocessed"),
        VISION_ENCODER: ENCODER,
        **of_trainers(threads),
    }
    for folder in ("nnUNet_raw", "nnUNet_preprocessed"):
        Path(os.environ[folder]).mkdir(parents=True, exist_ok=True)


def measured(work: Path, arm: str, seed: int, vision_weights: Path | None) -> Result:
    """Train, predict and score; a training that was stopped begins anew."""
    out, weights = work / f"{arm}_seed{seed}", ARMS[arm].vision_weights
    os.environ |= {
        "nnUNet_results": str(out / "nnUNet_results"),
        "BENCHMARK_SEED": str(seed),
        VISION_WEIGHTS: str(vision_weights) if weights == PRETRAINED else RANDOM,
    }
    dataset, trainer = str(openkbp.MERGED_ID), ["-tr", TRAINERS[arm], "-p", PLANS, "-device", "cpu"]
    seconds = run(["nnUNetv2_train", dataset, "3d_fullres", "0", *trainer])
    place = ["-i", str(work / openkbp.TEST / "imagesTr"), "-o", str(out / "predictions"), "-d", dataset, "-c", "3d_fullres"]
    predicting = run(["nnUNetv2_predict", *place, *trainer, "-f", "0", "-npp", "1", "-nps", "1"])
    run(["cdpd", "evaluate", str(out / "predictions"), str(work / openkbp.TEST / "labelsTr")])
    recipe = nnUNetTrainerCDPDSmall.recipe
    setting = {
        "iterations": recipe.num_epochs * recipe.num_iterations_per_epoch,
        "device": "cpu",
        "half": True,
        "vision_weights": weights,
    }
    scores = openkbp.read_scores(out / "predictions")
    return Result(OPENKBP, arm, 0, seed, round(seconds), setting, versions(), scores, round(predicting))


if __name__ == "__main__":
    main()
