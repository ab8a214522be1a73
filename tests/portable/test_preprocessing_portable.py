"""Preprocessing without torch: what nnU-Net's preprocessor gives."""

import numpy as np
import pytest
from builders import model as tiny_model
from builders.portable import make_description
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy import ndimage

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable import preprocessing
from nnunetv2_cdpd.portable.description import CT, CT_NUMBERS, SCHEMES, Normalization
from nnunetv2_cdpd.portable.preprocessing import check_new_shape, preprocessed
from nnunetv2_cdpd.volumes.axes import ResamplingRule

RNG = np.random.default_rng(5)


def hosts(image, spacing_mm, scheme, use_mask, **configuration):
    """nnU-Net's result and properties, with the tiny model's plans."""
    channels = len(image)
    plans = tiny_model.make_plans(channels=channels, normalization_schemes=[scheme] * channels, **configuration)
    plans["configurations"][tiny_model.CONFIGURATION]["use_mask_for_norm"] = [use_mask] * channels
    manager = PlansManager(plans)
    data, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        image, None, {"spacing": list(spacing_mm)}, manager, manager.get_configuration(tiny_model.CONFIGURATION), {}
    )
    return data, properties, plans["foreground_intensity_properties_per_channel"]["0"]


def described(image, scheme, use_mask, properties, **changes):
    numbers = {name: properties[name] for name in CT_NUMBERS} if scheme == CT else {}
    names = tuple(map(str, range(len(image))))
    return make_description(channels=names, normalizations=(Normalization(scheme, use_mask, numbers),) * len(image), **changes)


def an_image(channels=1, shape=(16, 21, 18)):
    """With air on some sides, and a hole of zeros in the body."""
    image = np.stack([tiny_model.make_image(shape, seed) for seed in range(channels)]).astype(np.float32)
    image = np.abs(image) % 256
    image[:, 6:9, 8:11, 7:10] = 0
    return image


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("use_mask", [False, True])
def test_every_normalization(scheme, use_mask):
    image, spacing = an_image(2), (2.0, 0.8, 0.9)
    expected, properties, numbers = hosts(image.copy(), spacing, scheme, use_mask)
    found = preprocessed(image, spacing, described(image, scheme, use_mask, numbers))
    assert found.data.shape == expected.shape
    np.testing.assert_allclose(found.data, expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))
    assert [[part.start, part.stop] for part in found.crop] == [
        list(map(int, part)) for part in properties["bbox_used_for_cropping"]
    ]
    assert found.full_shape == tuple(properties["shape_before_cropping"])


@pytest.mark.parametrize("spacing", [(2.0, 0.8, 0.9), (0.8, 0.8, 9.0), (2.5, 1.4, 1.1), (1.4, 8.0, 1.0)])
@pytest.mark.parametrize(("order", "order_z"), [(3, 0), (3, 1), (1, 0)])
def test_every_resampling(spacing, order, order_z):
    image = an_image(shape=(12, 14, 15))
    kwargs = {"is_seg": False, "order": order, "order_z": order_z, "force_separate_z": None}
    expected, _, numbers = hosts(image.copy(), spacing, CT, False, resampling_fn_data_kwargs=kwargs)
    found = preprocessed(image, spacing, described(image, CT, False, numbers, image_rule=ResamplingRule(order, order_z, None, 3)))
    np.testing.assert_allclose(found.data, expected, rtol=0, atol=1e-5)


def test_torch_resampling_is_of_order_one():
    image, spacing = an_image(), (2.0, 0.8, 0.9)
    changes = {
        "resampling_fn_data": "resample_torch_fornnunet",
        "resampling_fn_data_kwargs": {"is_seg": False, "force_separate_z": False},
    }
    expected, _, numbers = hosts(image.copy(), spacing, CT, False, **changes)
    found = preprocessed(image, spacing, described(image, CT, False, numbers, image_rule=ResamplingRule(1, 0, False, 3)))
    np.testing.assert_allclose(found.data, expected, rtol=0, atol=1e-5)


def test_slices_of_a_2d_network_keep_their_distance():
    image, spacing = an_image(), (2.0, 0.8, 0.9)
    expected, _, numbers = hosts(image.copy(), spacing, CT, False, spacing=[1.4, 1.1], patch_size=[16, 24])
    found = preprocessed(image, spacing, described(image, CT, False, numbers, spacing=(1.4, 1.1), patch_size=(16, 24)))
    np.testing.assert_allclose(found.data, expected, rtol=0, atol=1e-5)
    assert found.spacing == (0.9, 1.4, 1.1)


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 12, 13)])
def test_holes_are_filled_as_scipy_fills_them(shape):
    for _ in range(5):
        data = (RNG.random((1, *shape)) < 0.6).astype(np.float32)
        data[0, -1, -1, -1] = data[0, 0, 0, 0] = 1
        _, mask = preprocessing._nonzero(data, True)
        assert np.array_equal(mask, ndimage.binary_fill_holes(data[0] != 0))


def test_an_image_of_nothing_but_zeros_is_kept_whole():
    image = np.zeros((1, 16, 21, 18), np.float32)
    expected, _, numbers = hosts(image.copy(), (2.0, 0.8, 0.9), CT, False)
    found = preprocessed(image, (2.0, 0.8, 0.9), described(image, CT, False, numbers))
    np.testing.assert_allclose(found.data, expected, atol=1e-6)


def test_an_image_of_no_voxel_at_the_models_spacing():
    with pytest.raises(UserError, match=r"1 x 21 x 18 voxels has none at the model's spacing, 2.5 x 1.4 x 1.1 mm"):
        preprocessed(np.ones((1, 21, 18, 1), np.float32), (1, 1, 0.1), make_description())


def test_colours_that_are_none():
    description = make_description(normalizations=(Normalization("RGBTo01Normalization", False, {}),))
    with pytest.raises(UserError, match="values from 0 to 255"):
        preprocessed(np.full((1, 9, 9, 9), 300, np.float32), (1, 1, 1), description)


def test_a_voxel_size_that_cannot_be_is_told_before_anything_is_resampled():
    check_new_shape((34, 21, 26), (1000, 1000, 1000), (1, 1, 1))
    check_new_shape((1000, 1000, 1000), (4000, 4000, 4000), (1, 1, 1))
    with pytest.raises(
        UserError, match=r"34 x 21 x 26 voxels has 1,000,000,001 at .*, 1 x 1 x 2.5 mm; .* voxel size in its header"
    ):
        check_new_shape((34, 21, 26), np.array((1_000_000_001, 1, 1)), (1, 1, 2.5))
