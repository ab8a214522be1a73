"""Fixtures of the tests of planning."""

import json

import pytest
from builders.planning import ANNOTATION, INTENSITIES

from nnunetv2_cdpd.annotation import dataset_json_entries


@pytest.fixture
def planned_dataset(tmp_path, monkeypatch):
    """dataset.json and fingerprint of 20 abdominal CTs, all that planning reads."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    raw, preprocessed = (tmp_path / name / "Dataset840_Plans" for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    files = {case: {"images": [f"{case}.nii.gz"], "label": f"{case}_label.nii.gz"} for case in ANNOTATION.case_source}
    description = {"channel_names": {"0": "CT"}, "numTraining": 20, "file_ending": ".nii.gz", "dataset": files}
    description["overwrite_image_reader_writer"] = "SimpleITKIO"
    (raw / "dataset.json").write_text(json.dumps({**description, **dataset_json_entries(ANNOTATION)}))
    fingerprint = {
        "spacings": [[3.0, 0.8, 0.8]] * 20,
        "shapes_after_crop": [[100, 400, 400]] * 20,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": INTENSITIES,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return preprocessed
