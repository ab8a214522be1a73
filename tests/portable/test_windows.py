"""Windows: nnU-Net's places and weights, and the mean over windows of a network that is a function on paper."""

import numpy as np
import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

from nnunetv2_cdpd.portable import windows
from nnunetv2_cdpd.portable.windows import WindowSettings, layers_of_logits, window_starts
from nnunetv2_cdpd.volumes.axes import in_all_channels


@pytest.mark.parametrize("length", [8, 9, 11, 12, 13, 16, 17, 40, 101])
@pytest.mark.parametrize("step_size", [0.5, 0.3, 1.0])
def test_windows_start_where_nnunets_do(length, step_size):
    assert window_starts(length, 8, step_size) == compute_steps_for_sliding_window((length,), (8,), step_size)[0]


@pytest.mark.parametrize("size", [(8, 16, 24), (5, 7), (1, 3, 64), (96, 20, 20)])
def test_weights_are_nnunets(size):
    expected = compute_gaussian(size, sigma_scale=1 / 8, value_scaling_factor=10, device=torch.device("cpu"))
    assert np.array_equal(windows._weights(size), expected.float().numpy())


def place_dependent(batch):
    """Two channels of logits: one that is the image, one that depends on the place in the window."""
    places = np.arange(batch[0, 0].size, dtype=np.float32).reshape(batch.shape[2:])
    return np.stack([batch[:, 0], batch[:, 0] * places], 1)


def means_on_paper(data, patch, step_size, mirror):
    """Both channels' weighted means, window by window over the whole volume."""
    weights = windows._weights(patch)
    sums, held = np.zeros((2, *data.shape[1:])), np.zeros(data.shape[1:])
    starts = [window_starts(n, p, step_size) for n, p in zip(data.shape[1:], patch)]
    for x in starts[0]:
        for y in starts[1]:
            for z in starts[2]:
                box = (slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2]))
                image = data[in_all_channels(box)][None]
                logits = place_dependent(image)[0].astype(float)
                if mirror:
                    logits = (logits + place_dependent(image[:, :, ::-1])[0][:, ::-1]) / 2
                sums[in_all_channels(box)] += logits * weights
                held[box] += weights
    return sums / held


@pytest.mark.parametrize(("shape", "axis"), [((19, 9, 12), 0), ((6, 30, 13), 1), ((7, 8, 40), 2), ((4, 5, 6), 0)])
@pytest.mark.parametrize(("batch", "mirror"), [(1, ()), (3, (0,))])
def test_the_mean_over_windows(shape, axis, batch, mirror):
    patch = (4, 6, 8)
    data = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    missing = [max(0, p - n) for p, n in zip(patch, shape)]
    padded = np.pad(data, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
    inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, shape))
    expected = means_on_paper(padded, patch, 0.5, bool(mirror))[in_all_channels(inside)]
    layers = list(layers_of_logits(data, place_dependent, WindowSettings(patch, 0.5, batch, mirror)))
    assert {layer.axis for layer in layers} == {axis}
    assert [layer.start for layer in layers] == [0, *np.cumsum([layer.logits.shape[1] for layer in layers])[:-1]]
    found = np.moveaxis(np.concatenate([layer.logits for layer in layers], 1), 1, 1 + axis)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_slices_of_a_2d_network():
    data = np.random.default_rng(0).normal(size=(1, 3, 9, 12)).astype(np.float32)
    layers = list(layers_of_logits(data, lambda batch: np.concatenate([batch, 2 * batch], 1), WindowSettings((6, 8), 0.5, 2, ())))
    assert [(layer.axis, layer.start, layer.logits.shape) for layer in layers] == [(0, i, (2, 1, 9, 12)) for i in range(3)]
    np.testing.assert_allclose(np.concatenate([layer.logits[0] for layer in layers]), data[0], rtol=1e-5)


def test_air_is_run_once():
    data = np.zeros((1, 40, 6, 8), np.float32)
    data[0, :6] = np.random.default_rng(0).normal(size=(6, 6, 8))
    calls = []

    def network(batch):
        calls.append(len(batch))
        return batch

    told = []
    list(layers_of_logits(data, network, WindowSettings((4, 6, 8), 0.5, 1, ()), lambda *numbers: told.append(numbers)))
    assert sum(calls) == 4  # at 0, 2, 4 and once for all others
    assert told[-1] == (19, 19)
