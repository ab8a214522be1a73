"""Vision weights: read from the real layouts, refused when wrong, never silently random."""

import pytest
import timm
import torch
from builders.vision_layouts import as_dinov3_hub, as_dinov3_release, as_original, as_transformers, as_transformers_5
from safetensors.torch import save_file

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretrained import vision as vision_weights
from nnunetv2_cdpd.pretrained.vision import load_vision_weights, locate_vision_weights
from nnunetv2_cdpd.pretrained.vision_layouts import _original_from_transformers

MODEL = "vit_small_patch14_dinov2.lvd142m"
SMALL = {"embed_dim": 12, "depth": 2, "num_heads": 2}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SliceEncoder(MODEL, num_maps=2, model_kwargs=SMALL)


@pytest.fixture
def source():
    """The weights that files of every layout hold."""
    torch.manual_seed(1)
    return timm.create_model(MODEL, num_classes=0, dynamic_img_size=True, **SMALL)


@pytest.mark.parametrize("layout", [dict, as_original, as_transformers], ids=["timm", "original", "transformers"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_every_layout_gives_the_same_weights(encoder, source, tmp_path, layout, suffix):
    path = tmp_path / f"weights{suffix}"
    tensors = {key: value.contiguous() for key, value in layout(source.state_dict()).items()}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    assert load_vision_weights(encoder, str(path)) == str(path)
    assert encoder.weights_set
    assert all(torch.equal(value, encoder.vit.state_dict()[key]) for key, value in source.state_dict().items())


def test_transformers_5_names_behind_a_wrapping_model(encoder, source, tmp_path):
    torch.save(as_transformers_5(source.state_dict()), tmp_path / "weights.pth")
    load_vision_weights(encoder, str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, encoder.vit.state_dict()[key]) for key, value in source.state_dict().items())


def test_registers_of_the_transformers_layout_end_where_those_of_the_original_release_do(source, tmp_path):
    """timm folds the class token's position embedding into the class token, for both layouts."""
    registers = torch.randn(1, 4, 12)
    released = {**as_original(source.state_dict()), "register_tokens": registers}
    hub = {**as_transformers(source.state_dict()), "embeddings.register_tokens": registers}
    loaded = []
    for name, tensors in (("released", released), ("hub", hub)):
        torch.save(tensors, tmp_path / f"{name}.pth")
        encoder = SliceEncoder("vit_small_patch14_reg4_dinov2.lvd142m", num_maps=2, model_kwargs=SMALL)
        load_vision_weights(encoder, str(tmp_path / f"{name}.pth"))
        loaded.append(encoder.vit.state_dict())
    assert torch.equal(loaded[0]["reg_token"], registers)
    assert torch.equal(loaded[0]["cls_token"], source.cls_token + source.pos_embed[:, :1])
    assert all(torch.equal(loaded[0][key], loaded[1][key]) for key in loaded[0])


@pytest.mark.parametrize("layout", [as_dinov3_release, as_dinov3_hub], ids=["released", "hub"])
def test_dinov3(tmp_path, layout, capsys):
    name = "vit_small_patch16_dinov3_qkvb.lvd1689m"
    torch.manual_seed(2)
    source = timm.create_model(name, num_classes=0, **SMALL).state_dict()
    source |= {key: torch.randn_like(value) for key, value in source.items() if key.endswith("_bias")}
    torch.save(layout(source), tmp_path / "dinov3.pth")
    encoder = SliceEncoder(name, num_maps=2, model_kwargs=SMALL)
    load_vision_weights(encoder, str(tmp_path / "dinov3.pth"))
    assert all(torch.equal(value, encoder.vit.state_dict()[key]) for key, value in source.items())
    without_bias = SliceEncoder("vit_small_patch16_dinov3.lvd1689m", num_maps=2, model_kwargs=SMALL)
    with pytest.raises(UserError, match=r"blocks\.0\.attn\.qkv\.bias is not 0, and it has none"):
        load_vision_weights(without_bias, str(tmp_path / "dinov3.pth"))
    source |= {key: torch.zeros_like(value) for key, value in source.items() if key.endswith("_bias")}  # as released
    torch.save(layout(source), tmp_path / "dinov3.pth")
    load_vision_weights(without_bias, str(tmp_path / "dinov3.pth"))
    assert without_bias.weights_set
    assert capsys.readouterr().out == ""


def test_gated_mlps_of_the_transformers_layout():
    state_dict = {
        "embeddings.cls_token": torch.zeros(1),
        "layer.0.mlp.gate_proj.weight": torch.tensor(1),
        "layer.0.mlp.up_proj.weight": torch.tensor(2),
        "layer.0.mlp.down_proj.weight": torch.tensor(3),
    }
    renamed = _original_from_transformers(state_dict)
    assert {key: value.item() for key, value in renamed.items() if "mlp" in key} == {
        "blocks.0.mlp.w1.weight": 1, "blocks.0.mlp.w2.weight": 2, "blocks.0.mlp.w3.weight": 3
    }  # fmt: skip


def test_wrapped_state_dict_is_unwrapped(encoder, source, tmp_path):
    torch.save({"model": source.state_dict()}, tmp_path / "weights.pth")
    load_vision_weights(encoder, str(tmp_path / "weights.pth"))
    assert torch.equal(encoder.vit.norm.weight, source.norm.weight)


def test_random_is_an_explicit_choice(encoder):
    before = encoder.vit.norm.weight.clone()
    assert "explicit choice" in load_vision_weights(encoder, "random")
    assert encoder.weights_set and torch.equal(before, encoder.vit.norm.weight)


@pytest.mark.parametrize("choice", [None, "auto"])
def test_no_weights_is_one_error_that_lists_the_ways_out(encoder, monkeypatch, choice):
    monkeypatch.setattr(vision_weights, "locate_vision_weights", lambda model_name: None)
    monkeypatch.setattr(vision_weights, "hub_reachable", lambda: False)
    with pytest.raises(UserError, match="CDPD_VISION_WEIGHTS to a file.*CDPD_VISION_WEIGHTS=random") as error:
        load_vision_weights(encoder, choice)
    assert "\n" not in str(error.value)
    assert not encoder.weights_set


def test_original_release_in_the_cache_of_torch_hub_is_found(encoder, source, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert locate_vision_weights(MODEL) is None
    path = tmp_path / "checkpoints" / "dinov2_vits14_pretrain.pth"
    path.parent.mkdir()
    torch.save(as_original(source.state_dict()), path)
    assert load_vision_weights(encoder, "auto") == str(path)


def test_weights_of_another_width_are_refused(encoder, tmp_path):
    other = timm.create_model(MODEL, num_classes=0, embed_dim=16, depth=2, num_heads=2)
    save_file(other.state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match="wide.safetensors: these are not the weights of vit_small"):
        load_vision_weights(encoder, str(tmp_path / "wide.safetensors"))
    assert not encoder.weights_set


def test_weights_of_a_deeper_model_are_refused(encoder, tmp_path):
    deeper = timm.create_model(MODEL, num_classes=0, dynamic_img_size=True, **{**SMALL, "depth": 3})
    save_file(deeper.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match=r"not the weights of .*, which has no blocks\.2\."):
        load_vision_weights(encoder, str(tmp_path / "vit.safetensors"))


def test_weights_that_are_no_numbers_are_refused(encoder, source, tmp_path):
    weights = {key: value.clone() for key, value in source.state_dict().items()}
    weights["blocks.1.norm1.bias"][3] = float("nan")
    save_file(weights, tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match=r"blocks\.1\.norm1\.bias holds values that are no finite numbers"):
        load_vision_weights(encoder, str(tmp_path / "vit.safetensors"))


def test_file_of_something_else_is_refused(encoder, tmp_path):
    torch.save({"pos_embed": torch.zeros(7)}, tmp_path / "else.pth")
    with pytest.raises(UserError, match="else.pth: these are not the weights of vit_small"):
        load_vision_weights(encoder, str(tmp_path / "else.pth"))
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(UserError, match="epoch.pth: holds no plain dictionary of tensors"):
        load_vision_weights(encoder, str(tmp_path / "epoch.pth"))


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
