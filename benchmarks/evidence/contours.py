"""Contours: how large organs are drawn in complete and in partial patients, who are of other hospitals."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from patients import ORGANS, Patients
from results import FOLDER, write_json

from nnunetv2_cdpd.evaluation.bootstrap import interval_of_mean

PATH = FOLDER / "contours" / "all_patients.json"
KINDS = ("complete", "partial")
MEASURES = {"area_cm2": "cm2 per slice", "length_cm": "length cm"}


def measure_contours(data: Path) -> None:
    """Write what each patient's organs measure, as they are drawn."""
    patients, found = Patients.read(data), {}
    for patient, organs in patients.annotated.items():
        image = sitk.ReadImage(str(data / "labels" / f"{patient}.nii.gz"))
        labels, (width, depth, height) = sitk.GetArrayFromImage(image), image.GetSpacing()
        areas = {organ: (labels == ORGANS[organ]).sum((1, 2)) * width * depth / 100 for organ in organs}
        found[patient] = {
            organ: {
                "area_cm2": round(float(area[area > 0].mean()), 3),
                "length_cm": round(float((area > 0).sum() * height / 10), 2),
            }
            for organ, area in areas.items()
        }
    kinds = {kind: {patient: found[patient] for patient in getattr(patients, kind)} for kind in KINDS}
    write_json(PATH, kinds)


def contours_table() -> str:
    """Means with 95 % intervals, of the organs that patients of both kinds have; '' without results."""
    if not PATH.is_file():
        return ""
    kinds = json.loads(PATH.read_text())
    rows = []
    for organ in ORGANS:
        drawn = [[its[organ] for its in kinds[kind].values() if organ in its] for kind in KINDS]
        if all(drawn):
            cells = [_told([each[measure] for each in of_kind]) for measure in MEASURES for of_kind in drawn]
            rows.append(f"| {organ} | {' | '.join(str(len(of_kind)) for of_kind in drawn)} | {' | '.join(cells)} |")
    columns = ["organ", *(f"{kind} patients" for kind in KINDS)]
    columns += [f"{words}, {kind}" for words in MEASURES.values() for kind in KINDS]
    return "\n".join([f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}", *rows])


def _told(values: list[float]) -> str:
    low, high = interval_of_mean(np.array(values)[:, None])
    return f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"
