"""Preprocessing for prediction: nnU-Net's own result, resampled axis by axis."""

import copy

import numpy as np
import pytest
import torch
from builders import model as tiny_model
from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.preprocessing import PredictionConfiguration
from nnunetv2_cdpd.volumes.interpolation import resample_by_axis

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor.from_folder(tiny_model.write_model(tmp_path_factory.mktemp("preprocessing") / "model"), [0], device="cpu")


def hosts(predictor, image, spacing, previous=None):
    managers = predictor.plans_manager, predictor.dataset_json, predictor.configuration_manager
    return next(PreprocessAdapterFromNpy([image], [previous], [{"spacing": list(spacing)}], None, *managers))


@pytest.mark.parametrize("spacing", [(2.0, 0.8, 0.9), (7.0, 0.8, 0.9), (1.0, 3.0, 2.5)])
def test_the_image_and_its_place_are_nnunets(predictor, spacing):
    image = np.pad(tiny_model.make_image(), ((2, 1), (3, 0), (0, 4)))[None]  # a border that is cropped
    expected, case = hosts(predictor, image, spacing), predictor.preprocess_array(image, spacing)
    assert case.data.shape == expected["data"].shape
    assert torch.allclose(case.data, expected["data"], atol=1e-5 * float(np.ptp(expected["data"].numpy())))
    assert case.properties == expected["data_properties"]


def test_a_lower_stage_is_resampled_as_nnunet_does(predictor):
    image = tiny_model.make_image()[None]
    previous = (image > np.median(image)).astype(np.int8)
    expected = hosts(predictor, image, (2.0, 0.8, 0.9), previous)["data"]
    found = predictor._preprocessor.image(image, {"spacing": [2.0, 0.8, 0.9]}, previous).data
    assert expected.shape[0] > 1
    assert torch.equal(found[1:], expected[1:])
    assert torch.allclose(found[:1], expected[:1], atol=1e-4)


def test_only_what_does_the_same_is_exchanged(predictor):
    configuration = copy.deepcopy(predictor.configuration_manager.configuration)
    configuration["resampling_fn_data"] = resample_data_or_seg_to_shape.__name__
    ours = PredictionConfiguration(ConfigurationManager(configuration), reads_segmentation=True)
    assert ours.resampling_fn_data.func is resample_by_axis
    assert ours.resampling_fn_data.keywords == configuration["resampling_fn_data_kwargs"]
    assert ours.resampling_fn_seg.func is ConfigurationManager(configuration).resampling_fn_seg.func

    configuration |= {"resampling_fn_data": resample_torch_fornnunet.__name__, "resampling_fn_data_kwargs": {}}
    ours = PredictionConfiguration(ConfigurationManager(configuration), reads_segmentation=False)
    assert ours.resampling_fn_data.func is resample_torch_fornnunet
