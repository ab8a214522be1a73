"""Tumors: what benchmarks/tumors.py compares, and the table of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from results import FOLDER

from nnunetv2_cdpd.demo.phantom import BONE_HU, ORGANS

KIDNEY_TUMOR = "kidney_tumor"


@dataclass(frozen=True)
class Look:
    words: str
    bone_hu: float


@dataclass(frozen=True)
class Training:
    """trainer: A class of benchmarks/trainers."""

    words: str
    trainer: str


LOOKS = {
    "now": Look("as the demo makes them", BONE_HU),
    "bright_bones": Look("as bright as kidney tumors", next(organ.hu for organ in ORGANS if organ.name == KIDNEY_TUMOR)),
}
_TRAINER = "nnUNetTrainerDemoTumors"
TRAININGS = {
    "patch": Training("Dice of each patch", _TRAINER),
    "batch": Training("Dice of the batch", f"{_TRAINER}_batchDice"),
    "spread": Training("Dice of each patch, a batch of two sources", f"{_TRAINER}_spread"),
}


def path_of(look: str, training: str, seed: int) -> Path:
    return FOLDER / "tumors" / f"{look}_{training}_seed{seed}.json"


def tumors_table() -> str:
    """Each look and training: Dice of kidney tumors of each seed, and what else there is of all seeds; '' without results."""
    rows = []
    for look, its in LOOKS.items():
        for training, facts in TRAININGS.items():
            paths = sorted((FOLDER / "tumors").glob(f"{look}_{training}_seed*.json"))
            if not paths:
                continue
            found = [json.loads(path.read_text()) for path in paths]
            kidney = ", ".join(f"{run['dice'][KIDNEY_TUMOR]:.3f}" for run in found)
            size = ", ".join(f"{run['size'][KIDNEY_TUMOR]:.2f}" for run in found)
            liver = np.mean([run["dice"]["liver_tumor"] for run in found])
            organs = np.mean([value for run in found for name, value in run["dice"].items() if not name.endswith("_tumor")])
            rows.append(f"| {its.words} | {facts.words} | {kidney} | {size} | {liver:.3f} | {organs:.3f} |")
    if not rows:
        return ""
    columns = ["bones", "training", "kidney tumors, Dice of each seed", "their predicted size", "liver tumors", "organs"]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|---|{'---:|' * (len(columns) - 2)}", *rows])
