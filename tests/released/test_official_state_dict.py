"""Released weights -> ours: nothing lost, nothing invented, and what is dropped is told. No reference files needed."""

import pytest
import torch
from builders.release import released_state_dict, tiny_network

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.released.state_dict import convert_released

CLASSES, TASKS = 3, 2


@pytest.fixture(scope="module")
def network():
    text = {"encoder": "ViT-B-32/openai", "embed_dim": 16, "class_prompts": ["c"] * CLASSES, "modulate": True}
    return tiny_network(text=text, task={"prompts": ["t"] * TASKS, "universal": False})


@pytest.fixture
def released(network):
    """The network's weights as the release lays them out, with parts that it never uses."""
    return released_state_dict(network)


def without_encoder(network):
    return {key: value for key, value in network.state_dict().items() if not key.startswith("slice_encoder.")}


def test_every_weight_but_the_slice_encoders_is_given(network, released):
    converted, ours = convert_released(released), without_encoder(network)
    assert converted.state_dict.keys() == ours.keys()
    given_by_the_release = [key for key in ours if not (key.startswith("decoder.") and ("bias" in key or "seg_layers" in key))]
    for key in given_by_the_release:
        if not key.endswith("embeddings_set"):
            assert torch.equal(converted.state_dict[key], ours[key]), key
    assert torch.equal(converted.state_dict["decoder.seg_layers.4.weight"], ours["decoder.seg_layers.4.weight"])


def test_what_the_release_has_not_is_zero(released):
    converted = convert_released(released).state_dict
    zeros = [key for key in converted if key.startswith(("decoder.transpconvs", "decoder.seg_layers")) and key.endswith("bias")]
    zeros += [f"decoder.seg_layers.{stage}.weight" for stage in range(4)]
    assert len(zeros) == 14 and not any(converted[key].any() for key in zeros)


def test_the_network_takes_them_and_answers(network, released):
    encoder = {key: value for key, value in network.state_dict().items() if key.startswith("slice_encoder.")}
    network.load_state_dict({**encoder, **convert_released(released).state_dict})
    assert network.text_embeddings_set
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 32, 64, 32), torch.tensor(1))
    assert logits.shape == (1, CLASSES, 32, 64, 32) and torch.isfinite(logits).all()


def test_dropped_weights_are_told_with_the_reason(released):
    dropped = convert_released(released).dropped
    assert set(dropped) == {
        "seg_outputs.0.weight",
        "adaptors.0.enc.0.weight",
        "crossatt.3.transformer.norm2.bias",
        "conv_blocks_context.0.blocks.0.conv_4.bias",
    }
    assert "never run" in dropped["adaptors.0.enc.0.weight"]


def test_prefix_of_data_parallel_training_is_taken_off(released):
    prefixed = {f"module.{key}": value for key, value in released.items()}
    assert convert_released(prefixed).state_dict.keys() == convert_released(released).state_dict.keys()


def test_missing_and_unknown_weights_are_named(released):
    del released["tu.2.weight"]
    with pytest.raises(UserError, match=r"not the weights of the released CDPDNet: .* 1 missing \(first: tu.2.weight\)"):
        convert_released(released)
    with pytest.raises(UserError, match=r"2 unknown \(first: a\)"):
        convert_released({"a": torch.ones(1), "b": torch.ones(1)})


def test_modulation_for_another_number_of_prompts_is_refused(released):
    released["organ_embedding"] = released["organ_embedding"][:-1]
    with pytest.raises(UserError, match="does not take 2 prompts of 256 text features"):
        convert_released(released)
