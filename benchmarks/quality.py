"""Quality without truth on held-out patients: what `cdpd predict --quality` says of them, and what is true.

    python benchmarks/quality.py MODEL IMAGES LABELS ANNOTATED WORK [-device cpu]

calibrates a cross-validated model on its own validation cases, predicts the patients whom it was not trained on, by all of its
networks and by the first one alone, scores the predictions, and writes benchmarks/results/quality/*.json. What is done is not
done again. Without arguments it writes the table in benchmarks/README.md from these files.

MODEL: model folder, whose folds have their validation. IMAGES, LABELS: folders with PATIENT.nii.gz of all patients, OpenKBP's as
benchmarks/evidence cuts them. ANNOTATED: annotated.json, patient -> organs. nnUNet_raw holds the dataset of the model.
"""

import argparse
import csv
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

RESULTS = Path(__file__).parent / "results" / "quality"
README = Path(__file__).parent / "README.md"
MARKS = re.compile(r"(<!-- quality of predictions -->\n).*?(\n<!-- end of quality of predictions -->)", re.DOTALL)
ARMS = {"five_networks": "five networks", "one_network": "one network"}
FOLDS = {"five_networks": [], "one_network": ["-f", "0"]}
DRAWS = 2000
WORST = 0.1


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


def table() -> str:
    """Markdown of all results."""
    columns = ("networks", "patients", "predictions", "Spearman", "expected Dice alone", "mean entropy alone")
    head = f"| {' | '.join((*columns, 'mean error', 'volumes inside', 'worst tenth flagged', 'others flagged'))} |"
    lines = [head, "|---|---|" + "---:|" * 8]
    for arm, words in ARMS.items():
        path = RESULTS / f"{arm}.json"
        if not path.is_file():
            continue
        rows = json.loads(path.read_text())["rows"]
        groups = {
            "complete": [row for row in rows if row["complete"]],
            "partial": [row for row in rows if not row["complete"]],
            "all": rows,
        }
        for name, its in groups.items():
            patients = len({row["patient"] for row in its})
            cells = [told(its, statistic, digits) for statistic, digits in STATISTICS]
            lines.append(f"| {words} | {patients} {name} | {len(its)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _correlation(key: str, sign: int = 1):
    def statistic(rows: list[dict]) -> float:
        values, dice = ([row[name] for row in rows] for name in (key, "dice"))
        return float(spearmanr(np.multiply(sign, values), dice)[0]) if len(set(values)) > 1 and len(set(dice)) > 1 else math.nan

    return statistic


def _error(rows: list[dict]) -> float:
    return float(np.mean([abs(row["predicted"] - row["dice"]) for row in rows]))


def _inside(rows: list[dict]) -> float:
    """Of organs that were found: of others there is no volume to be right about."""
    return float(np.mean([row["inside"] for row in rows if row["found"]]))


def _flagged(of_worst: bool):
    def statistic(rows: list[dict]) -> float:
        dice = np.array([row["dice"] for row in rows])
        worst = dice <= np.sort(dice)[max(1, round(WORST * len(dice))) - 1]
        looks = np.array([row["look"] for row in rows])[worst == of_worst]
        return float(looks.mean()) if looks.size else math.nan

    return statistic


STATISTICS = (
    (_correlation("predicted"), 2),
    (_correlation("expected_dice"), 2),
    (_correlation("entropy", -1), 2),
    (_error, 3),
    (_inside, 2),
    (_flagged(True), 2),
    (_flagged(False), 2),
)


def told(rows: list[dict], statistic, digits: int) -> str:
    """A statistic with its 95 % interval, patients drawn again."""
    of_patient: dict[str, list[dict]] = {}
    for row in rows:
        of_patient.setdefault(row["patient"], []).append(row)
    patients, random = list(of_patient), np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        sample = [row for number in random.integers(len(patients), size=len(patients)) for row in of_patient[patients[number]]]
        drawn.append(statistic(sample))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{statistic(rows):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, nargs="*", metavar="MODEL IMAGES LABELS ANNOTATED WORK")
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    if arguments.places:
        model, images, labels, annotated, work = arguments.places
        measure(model, images, labels, json.loads(annotated.read_text()), work.resolve(), arguments.device)
    README.write_text(MARKS.sub(lambda match: match[1] + table() + match[2], README.read_text()))


if __name__ == "__main__":
    main()
