"""Model folders for the tests of cards: descriptions as a training leaves them, small checkpoints, summaries with chosen Dice."""

import json
from pathlib import Path

import torch

from builders.model import CONFIGURATION, TRAINER, make_plans
from nnunetv2_cdpd.annotation import Annotation, MergedLabel, Source, dataset_json_entries

CLASSES = ("liver", "liver_tumor", "right_kidney", "left_kidney", "spleen")
CASES = {"LIV_0001": "LiTS", "LIV_0002": "LiTS", "KID_0001": "Kidney", "ORG_0001": "Organs", "ORG_0002": "Organs"}
ANNOTATION = Annotation(
    classes=CLASSES,
    values=(1, 2, 3, 4, 5),
    regions=((1, 2), (2,), (3,), (4,), (5,)),
    sources=(
        Source("LiTS", ("liver", "liver_tumor"), license="CC BY-SA 4.0", reference="Bilic et al., 2023"),
        Source("Kidney", (), ("kidney",), license="see our website", reference="ours"),
        Source("Organs", ("liver", "right_kidney", "left_kidney", "spleen"), license="CC BY 4.0"),
    ),
    case_source=CASES,
    merged_labels=(MergedLabel("kidney", 6, ("right_kidney", "left_kidney")),),
)
NAMES = {"(1, 2)": "liver", "2": "liver_tumor", "3": "right_kidney", "4": "left_kidney", "5": "spleen"}
PROVENANCE = {
    "weights": [
        {"part": "vision encoder", "name": "vit_tiny_patch16_224", "kind": "pretrained", "sha256": "ab" * 32},
        {"part": "text embeddings", "name": "ViT-B-32/openai", "kind": "pretrained", "sha256": "cd" * 32},
    ],
    "python": "3.11.7",
    "packages": {"nnunetv2": ["2.8.1", "Apache-2.0"], "torch": ["2.9.0", "BSD-3-Clause"], "odd": ["1", "A license of its own"]},
    "earlier_packages": [],
}


def model_place(results: Path, dataset: str = "Dataset850_Tiny", configuration: str = CONFIGURATION) -> Path:
    """Where nnU-Net has the model of a dataset."""
    return results / dataset / f"{TRAINER}__nnUNetTinyPlans__{configuration}"


def write_trained(
    folder: Path,
    annotation: Annotation = ANNOTATION,
    folds=("0",),
    provenance=PROVENANCE,
    encoder="ViT-B-32/openai",
    **dataset_json,
) -> Path:
    """A model folder as a training leaves it, but for the weights, of which a card reads the checksum only."""
    folder.mkdir(parents=True)
    plans = make_plans()
    plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]["text"]["encoder"] = encoder
    (folder / "plans.json").write_text(json.dumps(plans))
    described = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": len(annotation.case_source or ())}
    (folder / "dataset.json").write_text(json.dumps({**described, **dataset_json_entries(annotation), **dataset_json}))
    (folder / "dataset_fingerprint.json").write_text(json.dumps({"spacings": [[1, 1, 1]]}))
    for fold in folds:
        write_fold(folder, fold, provenance)
    return folder


def write_fold(folder: Path, fold: str, provenance=PROVENANCE, checkpoint: str = "checkpoint_final.pth") -> Path:
    place = folder / f"fold_{fold}"
    place.mkdir(exist_ok=True)
    content = {
        "network_weights": {"a": torch.full((2,), float(len(fold)))},
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION, "fold": fold},
        "current_epoch": 7,
    }
    torch.save(content, place / checkpoint)
    debug = {"num_epochs": "7", "initial_lr": "0.0004", "weight_decay": "1e-05", "torch_version": "2.9.0", "device": "cuda"}
    debug |= {"gpu_name": "A GPU", "hostname": "janes-machine", "output_folder": str(place)}
    debug |= {} if provenance is None else {"provenance": json.dumps(provenance)}
    (place / "debug.json").write_text(json.dumps(debug))
    (place / "progress.png").write_bytes(b"")
    return place


def write_summary(place: Path, dice: dict, ours: bool = True) -> Path:
    """summary.json of a folder of predictions: case -> class -> Dice; absent in the reference where it is None.

    Args:
        ours: As this package scores it; else as nnU-Net does, for all classes of every case.
    """
    cases = []
    for case, scores in dice.items():
        metrics = {key: _metrics(scores[name]) if name in scores else _metrics(0.0) for key, name in NAMES.items()}
        if ours:
            metrics = {key: its if NAMES[key] in scores else {m: float("nan") for m in its} for key, its in metrics.items()}
        entry = {"reference_file": f"/data/jane/labelsTr/{case}.nii.gz", "prediction_file": f"/x/{case}.nii.gz"}
        cases.append({**entry, "metrics": metrics, **({"case": case, "source": CASES[case]} if ours else {})})
    summary = {"metric_per_case": cases, "mean": {}, "foreground_mean": {"Dice": 0.5}}
    place.mkdir(parents=True, exist_ok=True)
    (place / "summary.json").write_text(json.dumps({**summary, **({"cdpd": {"version": 1, "classes": NAMES}} if ours else {})}))
    return place / "summary.json"


def _metrics(dice: float | None) -> dict:
    there = dice is not None
    return {"Dice": dice if there else float("nan"), "n_ref": 10.0 if there else 0.0, "n_pred": 8.0 if dice else 0.0}
