"""Adapters and guide: learned in training, merged or left out in what is saved, and gone on with."""

import copy

import pytest
import torch
from builders.model import give_effect
from builders.network import TINY_VIT, K, make_network, patch_for

from nnunetv2_cdpd.network.training_only import Guide
from nnunetv2_cdpd.network.vision_settings import VisionSettings

VISION = {**TINY_VIT, "slice_axis": 0, "slice_step": 2, "intensity_windows": [[-1.0, 1.0]], "fusion": "sum", "gate": "open"}


def with_adapters(rank=2, **changes):
    network = give_effect(make_network(vision={**VISION, "adapters": rank, **changes}))
    network.slice_encoder.bfloat16_on_cpu = False
    return network, network.attach_training_parts(K)


def learned(adapters, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def test_merged_is_what_was_trained_beside():
    network, parts = with_adapters()
    x = patch_for()
    before = network.eval()(x)
    learned(parts["adapters"])
    unmerged = network(x)
    assert not torch.allclose(unmerged, before, atol=1e-3)
    plain = make_network(vision=VISION).eval()
    plain.slice_encoder.bfloat16_on_cpu = False
    plain.load_state_dict(network.state_dict())  # the same keys
    torch.testing.assert_close(plain(x), unmerged, atol=1e-4, rtol=1e-4)


def test_what_is_saved_is_the_weight_and_the_product_of_both_factors():
    network, parts = with_adapters(rank=1)
    layer, adapters = network.slice_encoder.vit.blocks[0].attn.proj, parts["adapters"]
    number = list(adapters.adapted).index("blocks.0.attn.proj")
    with torch.no_grad():
        getattr(adapters, f"down_{number}").fill_(2)
        getattr(adapters, f"up_{number}").fill_(3)
    saved = network.state_dict()["slice_encoder.vit.blocks.0.attn.proj.weight"]
    torch.testing.assert_close(saved, layer.weight + 6)
    assert torch.equal(
        network.state_dict()["slice_encoder.vit.blocks.0.attn.qkv.weight"], network.slice_encoder.vit.blocks[0].attn.qkv.weight
    )


def test_adapters_alone_are_trained_in_the_encoder_and_start_as_nothing():
    network, parts = with_adapters()
    assert torch.equal(network.eval()(patch_for()), give_effect_again(network)(patch_for()))
    network.train()(patch_for()).square().mean().backward()
    encoder = network.slice_encoder
    assert all(parameter.grad is None for parameter in encoder.vit.parameters()) and not encoder.vit.training
    ups = [parameter.grad for name, parameter in parts["adapters"].named_parameters() if name.startswith("up")]
    assert all(grad is not None and (grad != 0).any() for grad in ups)
    assert all(parameter.grad is not None for parameter in parts["adapters"].parameters())


def give_effect_again(network):
    """The same network without adapters."""
    plain = make_network(vision=VISION).eval()
    plain.slice_encoder.bfloat16_on_cpu = False
    plain.load_state_dict(network.state_dict())
    return plain


def test_adapters_are_of_every_linear_layer_up_to_the_last_block_that_is_used():
    _, parts = with_adapters(blocks=[1, 2])
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert sorted(parts["adapters"].adapted) == sorted(f"blocks.{block}.{layer}" for block in (0, 1) for layer in layers)


def test_a_training_that_goes_on_has_the_factors_and_the_weights_from_before():
    network, parts = with_adapters()
    learned(parts["adapters"])
    weights, state = copy.deepcopy(network.state_dict()), parts["adapters"].own_state()
    base = network.slice_encoder.vit.blocks[1].mlp.fc1.weight.clone()
    again, its = with_adapters()
    learned(its["adapters"], seed=1)
    again.load_state_dict(weights)
    x = patch_for()
    torch.testing.assert_close(again.eval()(x), network.eval()(x), atol=1e-4, rtol=1e-4)  # merged, nothing added
    its["adapters"].load_own_state(state)
    torch.testing.assert_close(again(x), network(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.slice_encoder.vit.blocks[1].mlp.fc1.weight, base, atol=1e-6, rtol=1e-6)


def test_guide_is_a_linear_layer_of_the_tokens_of_each_stage():
    guide = Guide({"1": 2, "2": 3}, num_classes=2)
    with torch.no_grad():
        guide.weight_1.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        guide.bias_1.copy_(torch.tensor([0.0, 10.0]))
    tokens = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1).expand(1, 2, 4, 3)
    one, other = guide({"1": tokens, "2": torch.zeros(1, 3, 2, 2)})
    assert one.shape == (1, 2, 4, 3) and one[0, :, 0, 0].tolist() == [11, 5]
    assert other.shape == (1, 2, 2, 2)


def test_guide_speaks_in_training_only_and_is_in_no_saved_model():
    network = make_network(vision={**VISION, "guide": 0.5})
    keys = set(network.state_dict())
    x = patch_for()
    assert isinstance(network.train()(x), torch.Tensor)  # none is attached
    network.attach_training_parts(K)
    outputs = network(x)
    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 24, 32), (8, 12, 16), (4, 6, 8)]
    assert all(output.shape[1] == K for output in outputs)
    sum(output.square().mean() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.guide.parameters())
    assert isinstance(network.eval()(x), torch.Tensor)
    assert set(network.state_dict()) == keys
    network.load_state_dict(make_network(vision=VISION).state_dict())


def test_network_without_these_settings_gets_no_parts():
    assert make_network(vision=VISION).attach_training_parts(K) == {} == make_network(vision=None).attach_training_parts(K)


def test_settings_that_are_none_of_training_are_refused():
    with pytest.raises(ValueError, match="0 or more, got -1 and 0"):
        VisionSettings(guide=-1)
    with pytest.raises(ValueError, match="`adapters` and `whole_slices` are of a ViT, and `source` is 'coordinates'"):
        VisionSettings(adapters=2, source="coordinates")
