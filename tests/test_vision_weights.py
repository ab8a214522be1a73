"""Vision weights: read from the real layouts, refused when wrong, never silently random."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network import vision_weights
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.network.vision_weights import load_vision_weights, locate_vision_weights

MODEL = "vit_small_patch14_dinov2.lvd142m"
SMALL = {"embed_dim": 12, "depth": 2, "num_heads": 2}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SliceEncoder(MODEL, num_maps=2, patch_size=(4, 28, 28), model_kwargs=SMALL)


@pytest.fixture
def source():
    """The weights that files of every layout hold."""
    torch.manual_seed(1)
    return timm.create_model(MODEL, num_classes=0, dynamic_img_size=True, **SMALL)


def as_original(state_dict):
    """Keys of the original DINOv2 release, which also holds a mask token."""
    return {**state_dict, "mask_token": torch.zeros(1, 12)}


def as_transformers(state_dict):
    """Keys of Hugging Face transformers' Dinov2Model, written down from its documented module names."""
    out = {
        "embeddings.cls_token": state_dict["cls_token"],
        "embeddings.position_embeddings": state_dict["pos_embed"],
        "embeddings.mask_token": torch.zeros(1, 12),
        "embeddings.patch_embeddings.projection.weight": state_dict["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state_dict["patch_embed.proj.bias"],
        "layernorm.weight": state_dict["norm.weight"],
        "layernorm.bias": state_dict["norm.bias"],
    }
    for n in range(2):
        theirs, ours = f"encoder.layer.{n}.", f"blocks.{n}."
        for kind in ("weight", "bias"):
            out |= {f"{theirs}{norm}.{kind}": state_dict[f"{ours}{norm}.{kind}"] for norm in ("norm1", "norm2")}
            out |= {f"{theirs}mlp.{fc}.{kind}": state_dict[f"{ours}mlp.{fc}.{kind}"] for fc in ("fc1", "fc2")}
            parts = state_dict[f"{ours}attn.qkv.{kind}"].chunk(3)
            out |= {f"{theirs}attention.attention.{name}.{kind}": part.clone() for name, part in zip(("query", "key", "value"), parts)}
            out[f"{theirs}attention.output.dense.{kind}"] = state_dict[f"{ours}attn.proj.{kind}"]
        out |= {f"{theirs}layer_scale{i}.lambda1": state_dict[f"{ours}ls{i}.gamma"] for i in (1, 2)}
    return out


@pytest.mark.parametrize("layout", [dict, as_original, as_transformers], ids=["timm", "original", "transformers"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_every_layout_gives_the_same_weights(encoder, source, tmp_path, layout, suffix):
    path = tmp_path / f"weights{suffix}"
    tensors = {key: value.contiguous() for key, value in layout(source.state_dict()).items()}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    assert load_vision_weights(encoder, str(path)) == str(path)
    assert encoder.weights_set
    assert all(torch.equal(value, encoder.vit.state_dict()[key]) for key, value in source.state_dict().items())


def test_wrapped_state_dict_is_unwrapped(encoder, source, tmp_path):
    torch.save({"model": source.state_dict()}, tmp_path / "weights.pth")
    load_vision_weights(encoder, str(tmp_path / "weights.pth"))
    assert torch.equal(encoder.vit.norm.weight, source.norm.weight)


def test_random_is_an_explicit_choice(encoder):
    before = encoder.vit.norm.weight.clone()
    assert "explicit choice" in load_vision_weights(encoder, "random")
    assert encoder.weights_set and torch.equal(before, encoder.vit.norm.weight)


def test_no_weights_is_one_error_that_lists_the_ways_out(encoder, monkeypatch):
    monkeypatch.setattr(vision_weights, "locate_vision_weights", lambda model_name: None)
    monkeypatch.setattr(vision_weights, "hub_reachable", lambda: False)
    with pytest.raises(UserError, match="CDPD_VISION_WEIGHTS to a file.*CDPD_VISION_WEIGHTS=random"):
        load_vision_weights(encoder, None)
    assert not encoder.weights_set


def test_cache_is_used_without_internet(encoder, source, tmp_path, monkeypatch):
    """The layout of the Hugging Face cache: refs, snapshots."""
    snapshot = tmp_path / f"models--timm--{MODEL}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    save_file(source.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(vision_weights, "hub_reachable", lambda: False)
    assert locate_vision_weights(MODEL) == snapshot / "model.safetensors"
    load_vision_weights(encoder, None)
    assert torch.equal(encoder.vit.cls_token, source.cls_token)


def test_missing_file_is_named(encoder):
    with pytest.raises(UserError, match="nowhere.pth: no such file"):
        load_vision_weights(encoder, "nowhere.pth")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_truncated_file_is_named(encoder, tmp_path, name):
    (tmp_path / name).write_bytes(b"\x10\x00\x00garbage")
    with pytest.raises(UserError, match=f"{name}: not readable as weights"):
        load_vision_weights(encoder, str(tmp_path / name))


def test_weights_of_another_model_are_refused_with_what_is_missing(encoder, source, tmp_path):
    tensors = source.state_dict()
    del tensors["blocks.1.attn.qkv.weight"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(UserError, match=r"not the weights of vit_small.*1 of \d+ tensors.*blocks.1.attn.qkv.weight"):
        load_vision_weights(encoder, str(tmp_path / "less.safetensors"))


def test_file_that_would_run_code_is_not_executed(encoder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="evil.pth: not readable as weights"):
        load_vision_weights(encoder, str(tmp_path / "evil.pth"))
    assert not (tmp_path / "executed").exists()
