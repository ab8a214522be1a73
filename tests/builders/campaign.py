"""A dataset of one's own to convert, large enough that a kill finds its conversion at work, and what must come of it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from builders.replica_files import write_nifti

SPEC = """
name: CLINIC
images: img/{case}.nii.gz
labels: lab/{case}.nii.gz
values: {1: liver, 2: spleen}
license: internal
reference: ours
"""


def write_source(folder: Path, num_cases: int, shape: tuple[int, int, int] = (60, 50, 40)) -> Path:
    """Images and label maps of so many cases, beside clinic.yaml; every case is another."""
    for number in range(num_cases):
        rng = np.random.default_rng(number)
        label = np.zeros(shape, np.uint8)
        label[5:20, 5 : 20 + number % 20, 5:20] = 1
        label[30:40, 10:20, 10 : 15 + number % 20] = 2
        image = (100 * (label > 0) + rng.integers(-40, 40, shape)).astype(np.int16)
        for kind, values in (("img", image), ("lab", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_nifti(folder / kind / f"c{number:03d}.nii.gz", values)
    (folder / "clinic.yaml").write_text(SPEC)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """nnU-Net's folders below a folder, for processes that are started as a user starts them."""
    names = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    for name in names:
        (folder / name).mkdir(parents=True)
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, **{name: str(folder / name) for name in names}, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def convert_command(source: Path) -> list[str]:
    # Copies: written anew, where links could not be half written.
    return ["convert", "--spec", str(source / "clinic.yaml"), str(source), "-d", "330", "-np", "1", "--copy"]


def undisturbed(source: Path, folder: Path) -> dict[str, str]:
    """File -> digest, of a conversion that nobody disturbs."""
    variables = environment(folder)
    command = [sys.executable, "-m", "nnunetv2_cdpd.cli.main", *convert_command(source)]
    subprocess.run(command, env=variables, cwd=folder, check=True, capture_output=True)
    return dataset_digests(folder)


def dataset_digests(folder: Path) -> dict[str, str]:
    """File -> digest of all that is in the converted dataset, hidden files too, but for the record of when it was made."""
    dataset = folder / "nnUNet_raw/Dataset330_CLINIC"
    files = [file for file in dataset.rglob("*") if file.is_file() and file.suffix != ".jsonl"]
    return {str(file.relative_to(dataset)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
