"""Quality without truth on held-out patients: what `cdpd predict --quality` says of them, and what is true.

    python benchmarks/quality.py MODEL IMAGES LABELS ANNOTATED WORK [-device cpu]

calibrates a cross-validated model on its own validation cases, predicts the patients whom it was not trained on, by all of its
networks and by the first one alone, scores the predictions, and writes benchmarks/results/quality/*.json. What is done is not
done again. `python benchmarks/evidence write` makes tables of these files.

MODEL: model folder, whose folds have their validation. IMAGES, LABELS: folders with PATIENT.nii.gz of all patients, OpenKBP's as
benchmarks/evidence cuts them. ANNOTATED: annotated.json, patient -> organs. nnUNet_raw holds the dataset of the model.
"""

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "quality"
FOLDS = {"five_networks": [], "one_network": ["-f", "0"]}


def run(command: list[str]) -> None:
    print("$", " ".join(command), flush=True)
    subprocess.run(command, check=True)


def measure(model: Path, images: Path, labels: Path, annotated: dict[str, list[str]], work: Path, device: str) -> None:
    """Calibrate, predict, score, and write the results."""
    dataset = model.parent.name
    trainer, plans, configuration = model.name.split("__")
    own = work / "nnUNet_results" / dataset / model.name
    if not own.is_dir():
        shutil.copytree(model, own, ignore=shutil.ignore_patterns("*.lock", "crossval*"))
    os.environ["nnUNet_results"] = str(work / "nnUNet_results")
    if not (own / "cdpd_quality.json").is_file():
        arguments = [dataset[7:10], "-c", configuration, "-tr", trainer, "-p", plans]
        run(["cdpd", "accumulate", *arguments, "--quality", "-device", device])
    description = json.loads((own / "dataset.json").read_text())
    trained = {path.name[: -len(".nii.gz")] for path in own.glob("fold_*/validation/*.nii.gz")}
    held_out = sorted(set(annotated) - trained)
    for part, place, end in (("imagesTs", images, "_0000"), ("labelsTs", labels, "")):
        (work / part).mkdir(parents=True, exist_ok=True)
        for patient in held_out:
            link = work / part / f"{patient}{end}.nii.gz"
            if not link.exists():
                link.symlink_to((place / f"{patient}.nii.gz").resolve())
    (work / "dataset.json").write_text(json.dumps(description))
    for arm, folds in FOLDS.items():
        out = work / arm
        run(["cdpd", "predict", "-i", str(work / "imagesTs"), "-o", str(out), "-m", str(own), *folds, "--quality", "--c"]
            + ["-device", device, "--disable_progress_bar"])  # fmt: skip
        scores = work / f"scores_{arm}"
        run(
            [
                "cdpd",
                "evaluate",
                str(out),
                str(work / "labelsTs"),
                "-d",
                str(work / "dataset.json"),
                "-o",
                str(scores),
                "-np",
                "1",
            ]
        )
        rows = joined(out, scores / "metrics.csv", annotated)
        calibration = json.loads((out / "quality.json").read_text())["calibration"]
        RESULTS.mkdir(parents=True, exist_ok=True)
        content = {"arm": arm, "trained": len(trained), "organs": len(description["labels"]) - 1, "calibration": calibration}
        (RESULTS / f"{arm}.json").write_text(json.dumps({**content, "rows": rows}, separators=(",", ":"), allow_nan=False) + "\n")


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
            facts = json.loads((predictions / "quality" / f"{patient}.json").read_text())["facts"][organ]
            voxels = facts["shape"]["voxels"] if facts["shape"] else 0
            its = said[patient][organ]
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
    for place in ("model", "images", "labels", "annotated", "work"):
        parser.add_argument(place, type=Path)
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    annotated = json.loads(arguments.annotated.read_text())
    measure(arguments.model, arguments.images, arguments.labels, annotated, arguments.work.resolve(), arguments.device)


if __name__ == "__main__":
    main()
