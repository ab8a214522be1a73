"""One tiny case of a made-up dataset to convert, for tests of single files."""

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
    truth = make_truth(["liver", "spleen"], 1)
    label = truth.masks["liver"] + 2 * truth.masks["spleen"].astype(np.uint8)
    write_nifti(tmp_path / "img/c1.nii.gz", truth.image)
    write_nifti(tmp_path / "lab/c1.nii.gz", label)
    return tmp_path, truth.image, label


def run(folder, dataset=None, **options):
    lines = []
    outcome = convert(
        dataset or declare(), folder, options=Options(**options), num_processes=1, progress=False, report=lines.append
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
