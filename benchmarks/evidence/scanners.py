"""Scanners: complete patients by the distance of slices of their CT, which goes with another voxel size and other noise."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from patients import Patients
from results import FOLDER, write_json
from scipy import ndimage

THICK_MM = 2.75  # slices of 3 mm are above, those of 2 to 2.56 mm below
SOFT_TISSUE_HU = (-100, 150)
WORDS = ("3 mm apart", "2.5 mm apart")


def by_scanner(patients: Patients) -> tuple[list[str], list[str]]:
    """Complete patients with thick slices, and those with thin ones."""
    thick = [patient for patient in patients.complete if patients.slice_mm[patient] > THICK_MM]
    return thick, [patient for patient in patients.complete if patient not in thick]


def noise_hu(image: sitk.Image) -> float:
    """Standard deviation of the noise, in HU: of differences of neighbours within soft tissue, robustly."""
    low, high = SOFT_TISSUE_HU
    values = sitk.GetArrayFromImage(image).astype(float)
    inside = ndimage.binary_erosion((values > low) & (values < high))
    differences = np.diff(values, axis=2)[inside[:, :, 1:] & inside[:, :, :-1]]
    return float(1.4826 * np.median(np.abs(differences)) / np.sqrt(2))  # median absolute deviation of a normal distribution


def measure_scanners(data: Path) -> None:
    """Write the voxel size and noise of each complete patient, in two groups."""
    groups = {}
    for words, group in zip(WORDS, by_scanner(Patients.read(data))):
        images = [sitk.ReadImage(str(data / "images" / f"{patient}.nii.gz")) for patient in group]
        groups[words] = [
            {
                "pixel_mm": round(image.GetSpacing()[0], 2),
                "slice_mm": round(image.GetSpacing()[2], 2),
                "noise_hu": round(noise_hu(image), 1),
            }
            for image in images
        ]
    write_json(FOLDER / "vision" / "scanners.json", groups)


def scanner_table() -> str:
    """Median and range of each group; '' without results."""
    path = FOLDER / "vision" / "scanners.json"
    if not path.is_file():
        return ""
    lines = ["| slices | patients | pixel mm | noise HU |", "|---|---:|---:|---:|"]
    for words, group in json.loads(path.read_text()).items():
        cells = []
        for key in ("pixel_mm", "noise_hu"):
            values = np.array([patient[key] for patient in group])
            cells.append(f"{np.median(values):.1f} ({values.min():.1f} to {values.max():.1f})")
        lines.append(f"| {words} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)
