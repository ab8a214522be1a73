"""The memory estimate against what autograd keeps for the backward pass of a real forward pass."""

import pytest
import torch
from builders.network import TINY_VIT, make_network
from torch.autograd.graph import saved_tensors_hooks

from nnunetv2_cdpd.network.cdpdnet import default_slice_step
from nnunetv2_cdpd.network.memory import KEPT_PER_UNIT, VIT_WORKING, feature_map_units, token_values, unet_units

PATCH = (16, 32, 48)
STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]


def network_of(seed=0, **changes):
    stages = len(STRIDES)
    unet = {
        "n_stages": stages,
        "features_per_stage": [16, 24, 32, 40, 48],
        "strides": STRIDES,
        "kernel_sizes": [[3] * 3] * stages,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "patch_size": list(PATCH),
        "fused_stages": [1, 2, 3],
    }
    return make_network(seed=seed, **{**unet, **changes})


def kept_values(network, x):
    """Numbers in all tensors that autograd keeps for the backward pass, each storage once, without the weights."""
    known = {part.untyped_storage().data_ptr() for part in [*network.parameters(), *network.buffers(), x]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (storage, storage.nbytes() // tensor.element_size())  # the storage: so that it stays alive
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(x)
    return sum(count for _, count in kept.values())


@pytest.fixture(scope="module")
def x():
    return torch.randn(1, 1, *PATCH, generator=torch.Generator().manual_seed(0))


def test_a_unit_is_what_a_plain_unet_keeps(x):
    network = network_of(vision=None, task=None)
    assert kept_values(network, x) / unet_units(network, PATCH) == pytest.approx(KEPT_PER_UNIT, rel=0.15)


def test_classes_and_vision_count():
    small, large = (make_network(num_classes=n) for n in (5, 50))
    patch = (16, 24, 32)
    # one unit per class and voxel: logits and their gradient
    assert unet_units(large, patch) - unet_units(small, patch) == 45 * 16 * 24 * 32
    assert feature_map_units(small, patch, [], 1) == unet_units(small, patch) < feature_map_units(small, patch, [1, 2], 1)


def gated(gate, fused):
    vision = {
        **TINY_VIT,
        "slice_axis": 0,
        "slice_step": default_slice_step(STRIDES, fused, 0),
        "intensity_windows": [[-1.0, 1.0]],
    }
    return network_of(fused_stages=fused, vision={**vision, "gate": gate})


@pytest.mark.parametrize("fused", [[1], [1, 2, 3]])
def test_a_closed_gate_keeps_one_value_more_per_voxel_and_channel(x, fused):
    blocks, closed = gated("blocks", fused), gated("closed", fused)
    kept = kept_values(closed, x) - kept_values(blocks, x)
    units = feature_map_units(closed, PATCH, fused, 2) - feature_map_units(blocks, PATCH, fused, 2)
    assert kept == pytest.approx(KEPT_PER_UNIT * units, rel=1e-3) and kept > 0


@pytest.mark.parametrize("fused", [[1], [3], [1, 2, 3]])
def test_fusion_keeps_what_is_counted(x, fused):
    without, network = network_of(vision=None), network_of(fused_stages=fused)
    kept = kept_values(network, x) - kept_values(without, x)
    units = feature_map_units(network, PATCH, fused, network.slice_encoder.slice_step) - unet_units(without, PATCH)
    assert kept / (KEPT_PER_UNIT * units) == pytest.approx(1, rel=0.1)


def test_frozen_encoder_keeps_nothing_but_its_tokens(x):
    encoder = network_of().slice_encoder
    assert kept_values(encoder, x) == 0
    assert token_values(network_of(), PATCH, encoder.slice_step) == encoder(x)[0].numel()


def test_a_slice_step_that_is_larger_gives_fewer_tokens():
    network = network_of()
    assert token_values(network, PATCH, 1) == 16 * 2 * 3 * 24  # slices, grid of 16-pixel patches, width
    assert token_values(network, PATCH, 5) == 4 * 2 * 3 * 24


def test_encoder_at_work_counts_where_it_outweighs_what_is_kept(monkeypatch):
    network, tokens = network_of(), token_values(network_of(), PATCH, 2)
    kept = feature_map_units(network, PATCH, [3], 2)
    assert kept > VIT_WORKING * tokens / KEPT_PER_UNIT
    monkeypatch.setattr("nnunetv2_cdpd.network.memory.VIT_WORKING", 10**5)
    assert feature_map_units(network, PATCH, [3], 2) == pytest.approx((10**5 + 1) * tokens / KEPT_PER_UNIT, abs=1)
