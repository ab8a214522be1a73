"""A model of two folds that was calibrated on its validation cases, its dataset, and images to predict."""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders.quality import write_dataset_and_model, write_image
from scipy.ndimage import gaussian_filter

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


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A new case, and the same degraded."""
    folder = tmp_path_factory.mktemp("images")
    picture = write_image(folder / "clean_0000.nii.gz", 100)
    array = sitk.GetArrayFromImage(picture).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 100, array.shape)
    for name, degraded in {"noisy": array + noise, "blurred": gaussian_filter(array, 2)}.items():
        its = sitk.GetImageFromArray(degraded.astype(np.int16))
        its.CopyInformation(picture)
        sitk.WriteImage(its, str(folder / f"{name}_0000.nii.gz"))
    return folder
