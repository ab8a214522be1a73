"""Tiny cases of a made-up dataset to convert."""

import numpy as np
import pytest

from builders.replica_files import make_truth, write_nifti
from nnunetv2_cdpd.conversion.declaration import SourceDataset
from nnunetv2_cdpd.conversion.run import Options, convert


def declare(**changes):
    facts = {
        **dict.fromkeys(("title", "region", "license", "link", "reference", "size"), "mine"),
        "name": "MINE",
        "num_cases": None,
        "layout": "img, lab",
        "images": ("img/{case}.nii.gz", "img/{case}.nii"),
        "labels": ("lab/{case}.nii.gz", "lab/{case}.nii"),
        "values": {1: "liver", 2: "spleen"},
    }
    return SourceDataset(**{**facts, **changes})


@pytest.fixture(name="case")
def case_fixture(tmp_path, nnunet_folders):
    """A case `c1` in tmp_path/img and tmp_path/lab, and what it was made from."""
    return tmp_path, *write_case(tmp_path, "c1", 1, ".nii.gz")


def write_case(folder, case, seed, kind=".nii"):
    """In folder/img and folder/lab; returns what the files hold."""
    truth = make_truth(["liver", "spleen"], seed)
    label = truth.masks["liver"] + 2 * truth.masks["spleen"].astype(np.uint8)
    write_nifti(folder / f"img/{case}{kind}", truth.image)
    write_nifti(folder / f"lab/{case}{kind}", label)
    return truth.image, label


def run(folder, dataset=None, dataset_id=None, processes=1, **options):
    lines = []
    outcome = convert(
        dataset or declare(),
        folder,
        dataset_id,
        options=Options(**options),
        num_processes=processes,
        progress=False,
        report=lines.append,
    )
    outcome.lines = lines
    return outcome


def reason(folder, dataset=None, **options):
    """Why case c1 failed; it names the case by its key, and nothing of it is left."""
    outcome = run(folder, dataset, **options)
    assert list(outcome.failed) == ["MINE_c1"] and not outcome.complete
    left = [path.name for path in outcome.folder.rglob("*") if path.is_file()]
    assert left == ["cdpd_convert_record.jsonl"]
    return outcome.failed["MINE_c1"]


def output(folder, kind="labelsTr"):
    (path,) = next(folder.glob("nnUNet_raw/Dataset*")).joinpath(kind).iterdir()
    return path
