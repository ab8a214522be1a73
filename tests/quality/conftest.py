"""A model of two folds that was calibrated on its validation cases, and its dataset."""

from types import SimpleNamespace

import pytest
import torch
from builders.quality import write_dataset_and_model

from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.quality.calibrate import calibrate_model


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory):
    """model: Its folder. raw: nnUNet_raw. told: What the calibration said."""
    place = tmp_path_factory.mktemp("quality")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = write_dataset_and_model(place / "raw", place / "results")
    told: list[str] = []
    dataset = read_dataset(place / "raw" / "Dataset850_Tiny")
    assert calibrate_model(model, dataset, [0, 1], device="cpu", progress=False, tell=told.append) == {}
    torch.set_num_threads(threads)
    return SimpleNamespace(model=model, raw=place / "raw", told=told)
