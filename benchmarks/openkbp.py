"""Partial labels on real CT: three sources of head-and-neck patients, each annotating other organs, through the stock commands.

Data: OpenKBP (github ababier/open-kbp, MIT), 83 patients as NIfTI, `annotated.json` says which organs each patient has.
Patients with all seven organs are kept back for the test or become the source with the rare organs; the others are
shared out. Labels that a source does not annotate are taken out of its label maps.

    python benchmarks/openkbp.py DATA OUT [-device cuda] [-tr nnUNetTrainerCDPDSmall] [-pl nnUNetPlannerCDPDSmall]
    python benchmarks/evidence write     # the table

runs every step that is not done yet and writes benchmarks/results/openkbp/TRAINER.json; with --place also of predictions of
which the rule `place` has cleaned what lies elsewhere, and for trainers that take negatives from it
(nnUNetTrainerCDPDSmall_place). Prior to it: pip install .
"""

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

sys.path.append(str(Path(__file__).parent / "evidence"))
from openkbp_tables import CLEANED, METRICS, PREDICTED, Scores, write_scores

from nnunetv2_cdpd.demo.weights import choose_weights

VALUES = {
    "Brainstem": 1,
    "SpinalCord": 2,
    "RightParotid": 3,
    "LeftParotid": 4,
    "Esophagus": 5,
    "Larynx": 6,
    "Mandible": 7,
}
SOURCES = {  # dataset name -> organs that it annotates
    "Dataset701_Neuro": ("Brainstem", "SpinalCord"),
    "Dataset702_Glands": ("RightParotid", "LeftParotid"),
    "Dataset703_Airways": ("Mandible", "Larynx", "Esophagus"),
}
MERGED_ID, MERGED_NAME = 710, "HeadNeckCT"
NUM_TEST = 10
TEST = "test"
TARGET_SPACING = ("6", "5", "6")  # mm, array order; coarse, so that a small network learns on a CPU


def split_patients(annotated: dict[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Patients of each source and of the test set, without overlap.

    Only patients with all organs can serve the test and the last source; the others are dealt out in turn.
    """
    complete = sorted(patient for patient, organs in annotated.items() if len(organs) == len(VALUES))
    partial = sorted(set(annotated) - set(complete))
    first, second, rare = SOURCES
    return {first: partial[::2], second: partial[1::2], rare: complete[NUM_TEST:]}, complete[:NUM_TEST]


def write_dataset(folder: Path, data: Path, patients: list[str], organs: tuple[str, ...]) -> None:
    """One nnU-Net raw dataset: images linked, labels reduced to the annotated organs."""
    images, labels = folder / "imagesTr", folder / "labelsTr"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    new_values = {VALUES[organ]: index for index, organ in enumerate(organs, start=1)}
    lookup = np.zeros(max(VALUES.values()) + 1, np.uint8)
    for old, new in new_values.items():
        lookup[old] = new
    for patient in patients:
        link = images / f"{patient}_0000.nii.gz"
        if not link.exists():
            link.symlink_to((data / "images" / f"{patient}.nii.gz").resolve())
        label = sitk.ReadImage(str(data / "labels" / f"{patient}.nii.gz"))
        reduced = sitk.GetImageFromArray(lookup[sitk.GetArrayFromImage(label)])
        reduced.CopyInformation(label)
        sitk.WriteImage(reduced, str(labels / f"{patient}.nii.gz"))
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{organ: index for index, organ in enumerate(organs, start=1)}},
        "numTraining": len(patients),
        "file_ending": ".nii.gz",
        "license": "MIT",
        "reference": "github ababier/open-kbp",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2))


def read_scores(folder: Path) -> Scores:
    """Of each patient and organ, from the table of `cdpd evaluate`; None: infinite, nothing is predicted."""
    scores: Scores = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            values = {metric: float(row[metric]) for metric in METRICS}
            finite = {metric: round(value, 4) if math.isfinite(value) else None for metric, value in values.items()}
            scores.setdefault(row["case"], {})[row["class"]] = finite
    return scores


def make_datasets(data: Path, out: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Write the sources and the test set, unless they are there, and merge the sources; returns who is in them."""
    patients, test = split_patients(json.loads((data / "annotated.json").read_text()))
    raw = out / "nnUNet_raw"
    for name, organs in SOURCES.items():
        if not (raw / name / "dataset.json").exists():
            write_dataset(raw / name, data, patients[name], organs)
    if not (out / TEST / "dataset.json").exists():
        write_dataset(out / TEST, data, test, tuple(VALUES))
    run(["cdpd", "merge", "-d", *(name[7:10] for name in SOURCES), "--id", str(MERGED_ID), "--name", MERGED_NAME])
    return patients, test


def plan(out: Path, planner: str, plans: str) -> None:
    """Plan and preprocess the merged dataset, unless it is done."""
    if not (out / "nnUNet_preprocessed" / f"Dataset{MERGED_ID}_{MERGED_NAME}" / f"{plans}.json").exists():
        run(
            ["nnUNetv2_plan_and_preprocess", "-d", str(MERGED_ID), "-pl", planner, "-c", "3d_fullres", "-np", "2"]
            + ["-overwrite_target_spacing", *TARGET_SPACING, "--verify_dataset_integrity"]
        )


def run(command: list[str]) -> float:
    """Run a command as a user would, print it, and return its seconds."""
    print("$", " ".join(command), flush=True)
    start = time.time()
    subprocess.run(command, check=True)
    return time.time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with images/, labels/ and annotated.json")
    parser.add_argument("out", type=Path, help="working folder; finished steps in it are not done again")
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("-tr", default="nnUNetTrainerCDPDSmall")
    parser.add_argument("-pl", default="nnUNetPlannerCDPDSmall")
    parser.add_argument(
        "--place", action="store_true", help="learn where organs can lie, and clean the predictions by it as well"
    )
    parser.add_argument("-p", default="nnUNetCDPDSmallPlans", help="name of the plans that the planner writes")
    arguments = parser.parse_args()

    out = arguments.out.resolve()
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[variable] = str(out / variable)
        (out / variable).mkdir(parents=True, exist_ok=True)
    if arguments.device == "cpu":
        os.environ.setdefault("nnUNet_n_proc_DA", "0")
        os.environ.setdefault("nnUNet_def_n_proc", "2")
    choices, pretraining = choose_weights()
    os.environ.update(choices)

    patients, test = make_datasets(arguments.data, out)
    test_set, merged = out / TEST, f"Dataset{MERGED_ID}_{MERGED_NAME}"
    plan(out, arguments.pl, arguments.p)
    if arguments.place:
        run(["cdpd", "place", str(MERGED_ID)])
    model = out / "nnUNet_results" / merged / f"{arguments.tr}__{arguments.p}__3d_fullres" / "fold_0"
    timing = out / f"training_seconds_{arguments.tr}.json"
    if not (model / "checkpoint_final.pth").exists():
        seconds = run(
            ["nnUNetv2_train", str(MERGED_ID), "3d_fullres", "0", "-tr", arguments.tr, "-p", arguments.p]
            + ["-device", arguments.device]
        )
        timing.write_text(json.dumps({"seconds": seconds}))
    predictions = out / f"predictions_{arguments.tr}"
    if not (predictions / "predict_from_raw_data_args.json").exists() or len(list(predictions.glob("*.nii.gz"))) < len(test):
        run(
            ["nnUNetv2_predict", "-i", str(test_set / "imagesTr"), "-o", str(predictions), "-d", str(MERGED_ID)]
            + ["-c", "3d_fullres", "-tr", arguments.tr, "-p", arguments.p, "-f", "0", "-device", arguments.device]
        )
    folders = {PREDICTED: predictions}
    if arguments.place:
        folders[CLEANED] = out / f"cleaned_{arguments.tr}"
        place = ["--place", str(out / "nnUNet_preprocessed" / merged), "--images", str(test_set / "imagesTr")]
        run(["cdpd", "clean", str(predictions), str(folders[CLEANED]), "--rules", "place", *place])
    for folder in folders.values():
        run(["cdpd", "evaluate", str(folder), str(test_set / "labelsTr")])
    seconds = json.loads(timing.read_text())["seconds"] if timing.exists() else None
    plans = json.loads((out / "nnUNet_preprocessed" / merged / f"{arguments.p}.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    setting = {
        "training_minutes": seconds and round(seconds / 60, 1),
        "device": arguments.device,
        "pretraining": list(pretraining),
        **{key: configuration[key] for key in ("patch_size", "batch_size", "spacing")},
    }
    write_scores(arguments.tr, {name: read_scores(folder) for name, folder in folders.items()}, setting)
    print(f"\nsource, training patients: {', '.join(f'{name[11:]} {len(cases)}' for name, cases in patients.items())}")
    print(f"patch {configuration['patch_size']}, batch {configuration['batch_size']}, spacing {configuration['spacing']} mm")
    print(*pretraining, sep="\n")
    print(
        f"{len(test)} test patients; training with its validation {setting['training_minutes']} min; "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, device {arguments.device}, "
        f"Python {sys.version.split()[0]}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
