"""Interpolation by axis: nnU-Net's own results, on every branch of its rules."""

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

from nnunetv2_cdpd.volumes import interpolation
from nnunetv2_cdpd.volumes.interpolation import along_axis, cdpd_resample_by_axis, resample_by_axis
from nnunetv2_cdpd.volumes.splines import across_matrix, spline_matrix

ISOTROPIC = ((1, 1, 1), (1, 1, 1))
RNG = np.random.default_rng(7)


def both(data, new_shape, spacings, **settings):
    """Our result and the host's."""
    settings = {"force_separate_z": None, **settings}
    return tuple(
        function(data.copy(), new_shape, *spacings, **settings) for function in (resample_by_axis, resample_data_or_seg_to_shape)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("orders", [(3, 0), (1, 0), (0, 0), (2, 0), (3, 1), (3, 3)])
@pytest.mark.parametrize(
    "spacings",
    [
        ISOTROPIC,
        ((5, 1, 1), (1, 1, 1)),  # across the first axis
        ((1, 5, 1), (1, 1, 1)),
        ((1, 1, 1), (1, 1, 7)),  # the new grid is the anisotropic one
        ((0.2, 1.3, 1.3), (1, 1, 1)),  # two coarse axes: not separate
    ],
)
@pytest.mark.parametrize(
    ("shape", "new_shape"),
    [
        ((20, 31, 17), (31, 20, 17)),  # up, down, as it was
        ((5, 40, 40), (13, 25, 64)),
        ((40, 6, 5), (7, 6, 5)),  # along one axis only
        ((1, 3, 2), (4, 1, 7)),  # from one voxel, and to one
    ],
)
def test_results_are_the_hosts(shape, new_shape, spacings, orders, dtype):
    data = RNG.normal(100, 300, size=(2, *shape)).astype(dtype)
    found, expected = both(data, new_shape, spacings, order=orders[0], order_z=orders[1])
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.abs(found - expected).max() <= 1e-6 * np.ptp(data)


def test_long_axes_of_several_tiles_are_the_hosts():
    data = RNG.normal(size=(1, 2, 3, 333)).astype(np.float32)
    for length in (130, 801):
        found, expected = both(data, (2, 3, length), ISOTROPIC)
        assert np.abs(found - expected).max() <= 1e-6 * np.ptp(data)


def test_no_value_leaves_the_range_of_the_volume_or_of_its_slice():
    data = np.zeros((1, 4, 12, 12), np.float32)
    data[0, 1, 4:8, 4:8] = 1  # a spline swings over at its borders
    data[0, 3] = 5
    isotropic, expected = both(data, (4, 30, 30), ISOTROPIC)
    assert (isotropic.min(), isotropic.max()) == (0, 5) == (expected.min(), expected.max())
    by_slice, expected = both(data, (4, 30, 30), ((9, 1, 1), (9, 1, 1)))
    assert by_slice[0].max((1, 2)).tolist() == [0, 1, 0, 5] == expected[0].max((1, 2)).tolist()


def test_a_shape_that_stays_changes_nothing():
    data = RNG.normal(size=(1, 3, 4, 5)).astype(np.float32)
    assert np.array_equal(resample_by_axis(data, (3, 4, 5), *ISOTROPIC), data)
    assert np.array_equal(resample_by_axis(torch.from_numpy(data), (3, 4, 5), *ISOTROPIC), data)


@pytest.mark.parametrize("strides", [(1, -1, 1), (1, 2, 1)])
def test_views_and_tensors_are_taken(strides):
    data = RNG.normal(size=(1, 6, 9, 8)).astype(np.float32)[:, :: strides[0], :: strides[1], :: strides[2]]
    found, expected = both(data, (9, 9, 9), ISOTROPIC)
    assert np.abs(found - expected).max() <= 1e-6 * np.ptp(data)
    assert np.array_equal(resample_by_axis(torch.from_numpy(data.copy()), (9, 9, 9), *ISOTROPIC), found)


def test_label_maps_and_integers_are_left_to_the_host():
    labels = RNG.integers(0, 3, (1, 6, 7, 8)).astype(np.int16)
    found, expected = both(labels, (9, 9, 9), ISOTROPIC, is_seg=True, order=1)
    assert found.dtype == np.int16 and np.array_equal(found, expected)
    found, expected = both(labels, (9, 9, 9), ISOTROPIC)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("in_a_worker", [False, True])
def test_a_process_of_nnunets_preprocessing_takes_one_core(in_a_worker, monkeypatch):
    threads = []
    monkeypatch.setattr(interpolation, "parent_process", lambda: object() if in_a_worker else None)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    data = RNG.normal(size=(1, 6, 7, 8)).astype(np.float32)
    settings = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    assert np.array_equal(
        cdpd_resample_by_axis(data, (9, 9, 9), *ISOTROPIC, **settings),
        resample_by_axis(data, (9, 9, 9), *ISOTROPIC, **settings),
    )
    assert threads == [1] * in_a_worker


def test_a_constant_stays_one():
    for matrix in (spline_matrix(37, 90, 3), spline_matrix(90, 37, 3), across_matrix(5, 13, 0)):
        assert np.allclose(matrix.sum(1), 1, atol=1e-12)
    assert across_matrix(4, 2, 0).argmax(1).tolist() == [1, 3]  # the later of two that are as near


def test_a_product_along_each_axis():
    image = torch.arange(24.0).reshape(2, 3, 4)
    for axis in range(3):
        matrix = np.array([[1.0] + [0.0] * (image.shape[axis] - 1), [2.0] * image.shape[axis]])
        expected = torch.stack([image.select(axis, 0), 2 * image.sum(axis)], axis)
        assert torch.equal(along_axis(image, axis, matrix), expected)
