"""Fixtures of the tests of prediction: a model of two folds, and three images."""

import pytest
import SimpleITK as sitk
from builders import model as tiny_model
from builders.prediction import SPACING


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("predict") / "model", folds=(0, 1))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index in range(3):
        picture = sitk.GetImageFromArray(tiny_model.make_image((14 + index, 21, 18), seed=index))
        picture.SetSpacing(SPACING)
        picture.SetOrigin((12.5, -30.0, 7.0))
        picture.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1) if index % 2 else (-1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(picture, str(folder / f"case_{index}_0000.nii.gz"))
    return folder
