"""Preprocessing for prediction: nnU-Net's own result, resampled axis by axis."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from builders import model as tiny_model
from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy
from nnunetv2.preprocessing.cropping import cropping
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from scipy.ndimage import binary_fill_holes

from nnunetv2_cdpd.inference import preprocessing
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


def hollow_image():
    """A bright shell around a hole of zeros, in zeros."""
    image = np.zeros((20, 24, 28), np.float32)
    image[3:17, 2:20, 5:25] = tiny_model.make_image()[3:17, 2:20, 5:25] + 2000
    image[7:12, 8:14, 10:18] = 0
    return image[None]


@pytest.mark.parametrize("uses_mask", [False, True])
def test_holes_are_filled_only_where_a_normalization_asks_for_the_mask(predictor, monkeypatch, uses_mask):
    filled = []
    monkeypatch.setattr(cropping, "binary_fill_holes", lambda mask: filled.append(1) or binary_fill_holes(mask))
    entries = predictor.configuration_manager.configuration
    changed = {"normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [uses_mask]}
    monkeypatch.setattr(predictor, "configuration_manager", ConfigurationManager({**entries, **changed}))
    expected = hosts(predictor, hollow_image(), (2.0, 0.8, 0.9))
    assert len(filled) == 1
    case = predictor.preprocess_array(hollow_image(), (2.0, 0.8, 0.9))
    assert len(filled) == 1 + uses_mask
    assert torch.allclose(case.data, expected["data"], atol=1e-4)
    assert case.properties == expected["data_properties"]


def test_holes_are_filled_for_a_lower_stage_and_in_other_threads(predictor, monkeypatch):
    filled = []

    def fill(mask):
        filled.append(1)
        return binary_fill_holes(mask)

    monkeypatch.setattr(cropping, "binary_fill_holes", fill)
    predictor._preprocessor.image(hollow_image(), {"spacing": [2.0, 0.8, 0.9]}, np.zeros((1, 20, 24, 28), np.int8))
    assert len(filled) == 1
    with preprocessing._holes_left(), ThreadPoolExecutor(1) as other:
        mask = hollow_image()[0] != 0
        assert np.array_equal(other.submit(lambda: cropping.binary_fill_holes(mask)).result(), binary_fill_holes(mask))
        assert cropping.binary_fill_holes(mask) is mask
    assert cropping.binary_fill_holes is fill


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
