"""The paper preset against reference outputs of the released network, for weights that a recipe defines.

The references lie outside of the project (../shared/parity). Each test also shows that it would notice one permuted weight.
"""

import json

import numpy as np
import pytest
import torch
from builders.parity import ABSOLUTE, REFERENCES, RELATIVE, assert_same, errors, given

from nnunetv2_cdpd.network import PaperCDPDNet
from nnunetv2_cdpd.pretrained.vision import load_vision_weights
from nnunetv2_cdpd.released.network import PaperCrossAttention, PaperSliceEncoder
from nnunetv2_cdpd.released.preset import KW_REQUIRES_IMPORT, paper_arch_kwargs
from nnunetv2_cdpd.released.state_dict import convert_released

pytestmark = pytest.mark.skipif(not REFERENCES.is_dir(), reason="the reference outputs are not at hand")


def test_weights_and_inputs_are_those_of_the_references(released, recipe, golden):
    """A wrong fill would be noticed before any forward pass, and so would one permuted weight."""
    entries = golden["network"]["keys"]
    filled = {key: tensor.numpy() for key, tensor in released.items() if entries[key]["dtype"].startswith("float")}
    assert [key for key, array in filled.items() if not recipe.digest(array).startswith(entries[key]["sha256_8"])] == []
    key = "intermedia_conv.blocks.0.conv.weight"
    assert not recipe.digest(filled[key][::-1]).startswith(entries[key]["sha256_8"])
    assert len(released) == golden["network"]["count"] == 324


class GivenTokens(torch.nn.Module):
    """Stands in for the slice encoder: the references were made with given token maps."""

    embed_dim, slice_axis = 768, 0

    def __init__(self, **kwargs):
        super().__init__()

    def forward(self, x, token_maps=None):
        return self.maps


class NetworkOfGivenTokens(PaperCDPDNet):
    slice_encoder_class = GivenTokens


def make_network(patch_size=(96, 96, 96)):
    kwargs = {**paper_arch_kwargs(), "patch_size": list(patch_size)}
    for name in KW_REQUIRES_IMPORT:
        kwargs[name] = kwargs[name] and getattr(torch.nn, kwargs[name].rsplit(".", 1)[1])
    return NetworkOfGivenTokens(1, 32, **kwargs).eval()


@pytest.fixture(scope="module")
def network(released):
    network = make_network()
    network.load_state_dict(convert_released(released).state_dict)
    return network


def assert_same_stage(out, reference, name, stride):
    """A stage on the grid that the reference keeps, and the statistics of its whole channels."""
    assert_same(out[(..., *(slice(None, None, step) for step in stride))], reference[name], name)
    if f"{name}/mean" in reference:
        axes = tuple(range(2, out.ndim))
        assert_same(out.mean(axes), reference[f"{name}/mean"], f"{name} mean")
        assert_same(out.std(axes, correction=0), reference[f"{name}/std"], f"{name} std")


def recorded_stages(network):
    """Fill a dictionary with the output of every named stage at each forward pass."""
    stages = {}

    def record(module, name):
        module.register_forward_hook(lambda module, args, out: stages.__setitem__(name, out))

    for stage, module in enumerate(network.encoder.stages):
        record(module, f"encoder.{stage}")
    for fusion in (1, 2, 3):
        record(network.adaptors[str(fusion + 1)].context, f"adaptor.{fusion}")
        record(network.adaptors[str(fusion + 1)], f"dino_upsampled.{fusion}")
        record(network.fusions[str(fusion + 1)], f"crossatt.{fusion}")
    for stage in range(4):
        record(network.modulations[stage], f"film.{stage}")
    shared = iter(["film.4.skip", "film.4.bottleneck"] * 100)
    network.modulations[4].register_forward_hook(lambda module, args, out: stages.__setitem__(next(shared), out))
    record(network.task_prompt.reduce, "intermedia")
    record(network.task_prompt.modulate, "prompt_film")
    record(network.task_prompt.fuse, "dynamic_prompt")
    for stage in range(5):
        record(network.decoder.transpconvs[stage], f"up.{stage}")
        record(network.decoder.stages[stage], f"decoder.{stage}")
    record(network.class_text, "text_to_vision_relu")
    record(network.task_text, "task_to_vision_relu")
    return stages


def inputs_of_96(network, recipe):
    return given(network, recipe, "dino", ("input", (1, 1, 96, 96, 96)), (1, 768, 96, 7, 7))


@pytest.mark.parametrize("task", [0, 4, 10])
def test_every_stage_and_the_logits_of_a_task(network, recipe, task):
    x, stages = inputs_of_96(network, recipe), recorded_stages(network)
    with torch.no_grad():
        logits = network(x, torch.tensor([task]))
    reference = np.load(REFERENCES / f"net_task{task}.npz")
    named = {**stages, "logits": logits, "logits_odd": logits}
    for name, entry in json.loads((REFERENCES / f"net_task{task}.json").read_text()).items():
        assert_same_stage(named[name], reference, name, entry["stride"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, key, axis",
    [
        (0, "conv_blocks_localization.0.0.blocks.0.conv.weight", 2),
        (4, "task_embedding", 0),
        (10, "fusion_layer.blocks.2.conv.weight", 0),
    ],
)
def test_one_permuted_weight_is_noticed_at_full_size(released, recipe, task, key, axis):
    network = make_network()
    network.load_state_dict(convert_released({**released, key: released[key].flip(axis)}).state_dict)
    with torch.no_grad():
        logits = network(inputs_of_96(network, recipe), torch.tensor([task]))
    reference = np.load(REFERENCES / f"net_task{task}.npz")["logits"]
    assert errors(logits[..., ::6, ::6, ::6], reference)[1] > ABSOLUTE


def test_windows_with_padding_and_every_task_of_a_mixed_batch(network, recipe):
    """Patches of 32x64x64, whose stages are no multiples of the window; the three tasks side by side in one batch."""
    x = given(network, recipe, "dino.small", ("input.small", (1, 1, 32, 64, 64)), (1, 768, 32, 5, 5))
    network.slice_encoder.maps = [grid.expand(3, -1, -1, -1, -1) for grid in network.slice_encoder.maps]
    stages = recorded_stages(network)
    with torch.no_grad():
        logits = network(x.expand(3, -1, -1, -1, -1), torch.tensor([0, 4, 10]))
    reference = np.load(REFERENCES / "net_small.npz")
    for name, entry in json.loads((REFERENCES / "net_small.json").read_text()).items():
        sample = {"logits.task4": 1, "logits.task10": 2}.get(name, 0)
        out = logits if name.startswith("logits") else stages[name]
        assert_same_stage(out[sample : sample + 1], reference, name, entry["stride"])


@pytest.mark.parametrize(
    "key, axis",
    [
        ("intermedia_conv.blocks.0.conv.weight", 0),
        ("conv_blocks_context.0.blocks.0.conv_1.weight", 4),
        ("crossatt.2.transformer.layers.0.blocks.1.attn.qkv.weight", 0),
        ("crossatt.1.transformer.layers.0.blocks.0.attn.relative_position_bias_table", 0),
        ("adaptors.3.enc.0.weight", 2),
        ("deep_film_block.2.beta.weight", 1),
        ("promt_film_block.gamma.bias", 0),
        ("task_to_vision.bias", 0),
        ("organ_embedding", 0),
        ("tu.4.weight", 3),
        ("seg_outputs.4.weight", 0),
    ],
)
def test_one_permuted_weight_is_noticed(released, recipe, key, axis):
    network = make_network()
    network.load_state_dict(convert_released({**released, key: released[key].flip(axis)}).state_dict)
    x = given(network, recipe, "dino.small", ("input.small", (1, 1, 32, 64, 64)), (1, 768, 32, 5, 5))
    reference = np.load(REFERENCES / "net_small.npz")["logits.task4"]
    with torch.no_grad():
        logits = network(x, torch.tensor([4]))
    assert max(errors(logits[..., ::5, ::5, ::5], reference)) > ABSOLUTE


def test_dropped_parameters_are_just_those_that_the_release_never_uses(released, golden):
    dropped = convert_released(released).dropped
    assert set(dropped) & set(golden["parameter_order"]) == set(golden["unused"])
    assert len(released) == 324 and all(dropped.values())


@pytest.fixture(scope="module")
def attention(recipe, golden):
    """One cross-attention alone, 64 channels wide."""
    weights = {
        key.removeprefix("lwca."): torch.from_numpy(recipe.tensor(key, shape))
        for key, shape in golden["lwca"]["shapes"].items()
        if not key.endswith("relative_position_index")
    }
    state_dict = {"norm.weight": weights["transformer.norm0.weight"], "norm.bias": weights["transformer.norm0.bias"]}
    for block in (0, 1):
        theirs, ours = f"transformer.layers.0.blocks.{block}.", f"blocks.{block}."
        state_dict[f"{ours}position_bias"] = weights[f"{theirs}attn.relative_position_bias_table"]
        state_dict[f"{ours}query.weight"] = weights[f"{theirs}attn.qkv.weight"][:64]
        state_dict[f"{ours}key_value.weight"] = weights[f"{theirs}attn.qkv.weight"][64:]
        for their_part, our_part in (
            ("norm1", "norm1"),
            ("norm2", "norm2"),
            ("attn.proj", "project"),
            ("mlp.fc1", "mlp.0"),
            ("mlp.fc2", "mlp.2"),
        ):
            for kind in ("weight", "bias"):
                state_dict[f"{ours}{our_part}.{kind}"] = weights[f"{theirs}{their_part}.{kind}"]
    module = PaperCrossAttention(64, 3).eval()
    module.load_state_dict(state_dict)
    return module


@pytest.mark.parametrize(
    "name, inputs, size, stride",
    [("out", "xy", 12, 2), ("out_swapped", "yx", 12, 5), ("out_pad", "xy", 8, 1)],
)
def test_windowed_cross_attention(attention, recipe, name, inputs, size, stride):
    prefix = "lwca.pad." if name == "out_pad" else "lwca."
    x, y = (torch.from_numpy(recipe.features(prefix + letter, (1, 64, size, size, size))) for letter in inputs)
    reference = np.load(REFERENCES / "lwca.npz")
    with torch.no_grad():
        assert_same_stage(attention(x, y), reference, name, [stride] * 3)
        table = attention.blocks[1].position_bias
        kept = table.clone()
        table.copy_(kept.flip(0))
        relative, _ = errors(attention(x, y)[..., ::stride, ::stride, ::stride], reference[name])
        table.copy_(kept)
    assert relative > RELATIVE


def test_relative_position_index_is_the_released_one(attention):
    index = np.load(REFERENCES / "lwca.npz")["relative_position_index"]
    assert (attention.blocks[0].position_index.numpy() == index).all()


@pytest.fixture(scope="module")
def slice_encoder(recipe, golden, tmp_path_factory):
    """DINOv2 ViT-B/14, read from a file as Hugging Face transformers lays it out."""
    encoder = PaperSliceEncoder("vit_base_patch14_dinov2.lvd142m", num_maps=4, intensity_windows=[[0.0, 1.0]])
    weights = {key: torch.from_numpy(recipe.tensor(key, entry["shape"])) for key, entry in golden["dino_hf"]["keys"].items()}
    path = tmp_path_factory.mktemp("dinov2") / "pytorch_model.bin"
    torch.save(weights, path)
    load_vision_weights(encoder, str(path))
    return encoder


def test_token_maps_of_dinov2(slice_encoder, recipe):
    x = torch.from_numpy(recipe.image("dino.input", (1, 1, 4, 96, 96)))
    reference = np.load(REFERENCES / "dino.npz")
    embedding = slice_encoder.position_embedding((7, 7))
    assert_same(embedding[..., ::4], reference["pos_embed_7x7"], "position embedding")
    for i, grid in enumerate(slice_encoder(x)):
        assert_same(grid[:, ::4], reference[f"map.{i}"], f"map {i}")
        assert_same(grid.mean((2, 3, 4)), reference[f"map.{i}/mean"], f"map {i} mean")
        assert_same(grid.std((2, 3, 4), correction=0), reference[f"map.{i}/std"], f"map {i} std")
    weight = slice_encoder.vit.blocks[8].attn.proj.weight
    weight.copy_(weight.flip(1))
    assert errors(slice_encoder(x)[0][:, ::4], reference["map.0"])[0] > RELATIVE
