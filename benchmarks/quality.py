"""Quality without truth on held-out patients: what `cdpd predict --quality` says of them, and what is true.

    python benchmarks/quality.py DATA WORK [--trained both] [--clean] [--threads 1] [--folds 0 1] [-device cpu]
    python benchmarks/evidence write     # the tables

cross-validates a network on OpenKBP's patients, calibrates it on its own validation cases, predicts the patients whom it was not
trained on, by all of its networks and by the first one alone, scores the predictions, and writes
benchmarks/results/quality/*.json. What is done is not done again. With --folds it trains these and stops, so that several
processes can share the work. --clean: predictions, those of the calibration too, are cleaned by where organs can lie.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "evidence"))

from commands import run
from cross_validation import FOLDS, TRAINED, CrossValidation
from patients import ORGANS, Patients
from raw_data import IDS
from results import FOLDER, write_json
from runs import PLANS

from nnunetv2_cdpd.evaluation.matching import name_finder

NETWORKS: dict[str, list[str]] = {"five_networks": [], "one_network": ["-f", FOLDS[0]]}


def measure(model: CrossValidation, patients: Patients, clean: bool) -> None:
    """Calibrate, predict and score a cross-validated model, and write the results."""
    cleaning, cleaned = (["--clean"], "_cleaned") if clean else ([], "")
    if clean:
        run(["cdpd", "place", str(IDS[model.dataset]), "-o", str(model.model), "-np", "1"])
    dataset, trainer = str(IDS[model.dataset]), ["-tr", model.model.name.split("__")[0], "-p", PLANS]
    run(["cdpd", "accumulate", dataset, "-c", "3d_fullres", *trainer, "--quality", *cleaning, "-device", model.device])
    for networks, folds in NETWORKS.items():
        out = model.work / f"{networks}{cleaned}"
        options = [*folds, *cleaning, "--quality", "--c", "-device", model.device, "--disable_progress_bar"]
        run(["cdpd", "predict", "-i", str(model.tested / "imagesTr"), "-o", str(out), "-m", str(model.model), *options])
        scores = model.work / f"scores_{networks}{cleaned}"
        run(["cdpd", "evaluate", str(out), str(model.tested / "labelsTr"), "-o", str(scores), "-np", "1"])
        content = {
            "organs": len(ORGANS),
            "calibration": json.loads((out / "quality.json").read_text())["calibration"],
            "rows": joined(out, scores / "metrics.csv", patients.annotated),
        }
        write_json(FOLDER / "quality" / f"{model.kind}_{networks}{cleaned}.json", content)


def joined(predictions: Path, metrics: Path, annotated: dict[str, list[str]]) -> list[dict]:
    """A row for each organ that a patient's reference has: what was said of it, and what is true."""
    said = json.loads((predictions / "quality.json").read_text())["cases"]
    rows = []
    with metrics.open(newline="") as file:
        for score in csv.DictReader(file):
            patient, organ = score["case"], score["class"]
            # An organ that was cut off with the slices it lies in, and is not found either, has no Dice.
            if organ not in annotated[patient] or math.isnan(float(score["Dice"])):
                continue
            name = name_finder(said[patient])(organ)  # `cdpd merge` may call it by another name
            facts = json.loads((predictions / "quality" / f"{patient}.json").read_text())["facts"][name]
            voxels = facts["shape"]["voxels"] if facts["shape"] else 0
            its = said[patient][name]
            ml = its["volume_ml"] / float(score["n_pred"]) if float(score["n_pred"]) else None
            rows.append(
                {
                    "patient": patient,
                    "organ": organ,
                    "complete": len(annotated[patient]) == max(map(len, annotated.values())),
                    "dice": round(float(score["Dice"]), 4),
                    "predicted": its["predicted_dice"],
                    "look": its["look"],
                    "inside": ml is None
                    or its["volume_low_ml"] <= float(score["n_ref"]) * ml <= (its["volume_high_ml"] or math.inf),
                    "found": its["present"],
                    "expected_dice": round(2 * facts["probability_inside"] / (voxels + facts["probability"]), 4)
                    if voxels
                    else 0.0,
                    "entropy": round(facts["entropy_inside"] / voxels, 4) if voxels else 1.0,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="images/, labels/ and annotated.json of OpenKBP (github ababier/open-kbp, MIT)")
    parser.add_argument("work", type=Path, help="folder for datasets, models and predictions")
    parser.add_argument("--trained", choices=TRAINED, default="both", help="patients of which kind; default: both")
    parser.add_argument("--clean", action="store_true", help="predictions are cleaned by place")
    parser.add_argument("--folds", nargs="+", choices=FOLDS, help="train these and stop; default: all, and measure")
    parser.add_argument("--threads", type=int, help="of a training on the CPU; default: nnU-Net's, one for each core")
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    patients = Patients.read(args.data)
    work = args.work.resolve() / args.trained
    model = CrossValidation(args.trained, args.data.resolve(), work, args.device, args.threads)
    model.set_environment()
    model.prepare(patients)
    for fold in args.folds or FOLDS:
        model.train(fold)
    if not args.folds:
        measure(model, patients, args.clean)


if __name__ == "__main__":
    main()
