"""Splines: scipy's interpolation, of which these matrices are what it makes of each unit vector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunetv2_cdpd.volumes.splines import MAX_ORDER, across_matrix, interpolation_matrix, spline_matrix

LENGTH = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(LENGTH, LENGTH, st.integers(0, MAX_ORDER))
def test_of_whole_images_as_scipys_zoom(num_inputs, num_outputs, order):
    zoom = (num_outputs / num_inputs, 1)
    expected = ndimage.zoom(np.eye(num_inputs), zoom, order=order, mode="nearest", grid_mode=True)
    assert np.allclose(spline_matrix(num_inputs, num_outputs, order), expected, rtol=0, atol=1e-8 if order > 3 else 1e-12)


@settings(max_examples=60, deadline=None)
@given(LENGTH, LENGTH, st.integers(0, MAX_ORDER))
def test_across_slices_as_scipys_map_coordinates(num_inputs, num_outputs, order):
    position = num_inputs / num_outputs * (np.arange(num_outputs) + 0.5) - 0.5
    places = np.broadcast_arrays(position[:, None], np.arange(num_inputs))
    expected = ndimage.map_coordinates(np.eye(num_inputs), places, order=order, mode="nearest")
    assert np.allclose(across_matrix(num_inputs, num_outputs, order), expected, rtol=0, atol=1e-8 if order > 3 else 1e-12)


def test_values_on_paper():
    assert spline_matrix(2, 4, 1).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert spline_matrix(4, 2, 0).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]  # the later of two that are as near
    assert np.allclose(spline_matrix(5, 5, 3), np.eye(5), atol=1e-12)  # a spline goes through its voxels


def test_an_order_that_is_none():
    with pytest.raises(ValueError, match="order 0 to 5, got 6"):
        interpolation_matrix(np.zeros(1), 3, 6)
