"""Vision encoders by name: their facts, their files, what they are shown, and which tokens come out."""

from dataclasses import replace

import pytest
import timm
import torch
from builders.project import CLONE
from builders.vision_layouts import (
    as_dinov3_release,
    as_open_clip,
    as_original,
    as_training,
    as_transformers,
    in_chunks,
)
from safetensors.torch import save_file

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretrained import vision as vision_weights
from nnunetv2_cdpd.pretrained.encoder_choice import find_encoder
from nnunetv2_cdpd.pretrained.encoders import ENCODERS, OPEN_CLIP, ORIGINAL, TRANSFORMERS
from nnunetv2_cdpd.pretrained.vision import load_vision_weights, locate_vision_weights, ways_to_vision_weights

SMALL = {"embed_dim": 36, "depth": 2, "num_heads": 3}
WRITERS = {  # how a file of each encoder's release is laid out
    ("meddinov3", ORIGINAL): lambda weights: as_training(as_dinov3_release(weights)),
    ("rad-dino", TRANSFORMERS): as_transformers,
    ("rad-dino", ORIGINAL): as_original,
    ("biomedclip", OPEN_CLIP): as_open_clip,
}
FILES = [(row.name, file, layout) for row in ENCODERS.values() for file, layout in row.files]


def small(name, **kwargs):
    """The encoder of a name, narrow and shallow."""
    encoder = find_encoder(name)
    mean, std = encoder.statistics
    kwargs = {"intensity_windows": [[0.0, 1.0]], "model_kwargs": SMALL, "num_maps": 2, **kwargs}
    return SliceEncoder(encoder.model_name, encoder=encoder.name, mean=mean, std=std, **kwargs)


def weights_of(name, seed=1, **kwargs):
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=0, dynamic_img_size=True, **{**SMALL, **kwargs})
    return {key: torch.randn_like(value) * 0.2 for key, value in model.state_dict().items()}


@pytest.mark.parametrize("row", ENCODERS.values(), ids=list(ENCODERS))
def test_facts_of_the_table_are_those_of_the_architecture(row):
    with torch.device("meta"):
        vit = timm.create_model(row.model_name, num_classes=0)
    assert vit.patch_embed.patch_size == (row.patch_size, row.patch_size)
    assert vit.num_prefix_tokens == row.prefix_tokens
    assert (vit.embed_dim, len(vit.blocks)) == (768, 12)  # ViT-B, all of them
    assert len(row.mean) == len(row.std) == 3 and row.license and row.source.startswith("https://") and row.repository
    assert row.in_hu == (row.window_hu is not None)


@pytest.mark.parametrize("row", ENCODERS.values(), ids=list(ENCODERS))
def test_documentation_has_the_facts_of_the_table(row):
    (line,) = (line for line in (CLONE / "docs" / "training.md").read_text().splitlines() if line.startswith(f"| `{row.name}`"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:4] == [str(row.patch_size), str(row.prefix_tokens)]
    assert cells[5:7] == [", ".join(f"`{file}`" for file, _ in row.files), row.license]


@pytest.mark.parametrize("name, file, layout", FILES)
def test_published_file_gives_its_weights(tmp_path, name, file, layout):
    encoder = small(name)
    weights = weights_of(encoder.model_name)
    content = WRITERS[name, layout](weights)
    path = tmp_path / file
    if file.endswith(".safetensors"):
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    assert load_vision_weights(encoder, str(path)) == str(path)
    loaded = encoder.vit.state_dict()
    assert set(loaded) == set(weights) and all(torch.equal(loaded[key], value) for key, value in weights.items())


@pytest.mark.parametrize("name", ENCODERS)
def test_tokens_are_those_of_timm_without_prefix_tokens(name):
    """A patch of 4 slices of 33 x 50 voxels."""
    encoder = small(name)
    encoder.bfloat16_on_cpu = False
    encoder.vit.load_state_dict(weights_of(encoder.model_name))
    x = torch.rand(2, 1, 4, 33, 50)
    grids = encoder(x)
    patch = ENCODERS[name].patch_size
    assert [tuple(grid.shape) for grid in grids] == [(2, 36, 4, round(33 / patch), round(50 / patch))] * 2
    both = encoder.vit.forward_intermediates(
        encoder.images(x), indices=2, norm=True, output_fmt="NLC", intermediates_only=True, return_prefix_tokens=True
    )
    for grid, (tokens, prefix) in zip(grids, both, strict=True):
        assert prefix.shape == (8, ENCODERS[name].prefix_tokens, 36)
        assert torch.equal(grid.permute(0, 2, 3, 4, 1).reshape(8, -1, 36), tokens)


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("rad-dino", 0.5, [(0.5 - 0.5307) / 0.2583] * 3),
        ("biomedclip", 1.0, [(1 - 0.48145466) / 0.26862954, (1 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711]),
        # HU 100 is 0.55 of -1000 ... 1000
        ("meddinov3", 0.55, [(100 - 65.1084213256836) / 178.01663208007812] * 3),
        ("meddinov3", 2.0, [(1000 - 65.1084213256836) / 178.01663208007812] * 3),  # beyond the window
    ],
)
def test_constant_image_is_normalised_as_the_training_images(name, value, shown):
    images = small(name).images(torch.full((1, 1, 2, 32, 32), value))
    torch.testing.assert_close(images, torch.tensor(shown).view(1, 3, 1, 1).expand(images.shape))


def test_default_is_shown_imagenet_statistics():
    encoder = SliceEncoder("vit_small_patch14_dinov2.lvd142m", num_maps=1, model_kwargs=SMALL)
    torch.testing.assert_close(encoder.mean, torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(encoder.std, torch.tensor([0.229, 0.224, 0.225]))


def test_student_alone_is_taken_and_blocks_in_chunks_are_put_in_order(tmp_path):
    encoder = small("rad-dino", model_kwargs={**SMALL, "depth": 4})
    weights = weights_of(encoder.model_name, depth=4)
    content = as_training(in_chunks(as_original(weights), of=2), prefix="module.backbone.")
    del content["teacher"]
    torch.save(content, tmp_path / "student.pth")
    load_vision_weights(encoder, str(tmp_path / "student.pth"))
    assert all(torch.equal(encoder.vit.state_dict()[key], value + 1) for key, value in weights.items())


def test_teacher_in_one_dictionary_with_the_student(tmp_path):
    encoder, weights = small("rad-dino"), weights_of("vit_base_patch14_dinov2")
    both = as_training(as_original(weights))
    content = {f"{who}.{key}": value for who in ("student", "teacher") for key, value in both[who].items()}
    torch.save({"model": content, "epoch": 3}, tmp_path / "model.pth")
    load_vision_weights(encoder, str(tmp_path / "model.pth"))
    assert all(torch.equal(encoder.vit.state_dict()[key], value) for key, value in weights.items())


@pytest.mark.parametrize(
    "name, other, kwargs, told",
    [
        ("rad-dino", "vit_base_patch16_224", {}, "their patches have 16 x 16 pixels, and its 14 x 14"),
        ("biomedclip", "vit_base_patch14_dinov2", {"init_values": None}, "their patches have 14 x 14 pixels, and its 16 x 16"),
        ("biomedclip", "vit_base_patch16_clip_224", {}, "tensors are missing or of another shape"),
        ("biomedclip", "vit_base_patch16_224", {"init_values": 1.0}, "which has no blocks.0.ls1.gamma"),
        ("biomedclip", "vit_base_patch16_224", {"depth": 3}, "which has no blocks.2."),
        ("biomedclip", "vit_base_patch16_224", {"depth": 1}, "tensors are missing or of another shape"),
        ("biomedclip", "vit_base_patch16_224", {"embed_dim": 24}, "tensors are missing or of another shape"),
        ("meddinov3", "vit_base_patch16_224", {}, "they have 0 register tokens, and it has 4"),
        ("rad-dino", "vit_base_patch14_reg4_dinov2", {}, "they have 4 register tokens, and it has 0"),
    ],
)
def test_weights_of_another_vit_are_refused_in_one_line(tmp_path, name, other, kwargs, told):
    torch.save(weights_of(other, **kwargs), tmp_path / "other.pth")
    encoder = small(name)
    before = {key: value.clone() for key, value in encoder.vit.state_dict().items()}
    with pytest.raises(UserError, match=f"other.pth: these are not the weights of {name}") as error:
        load_vision_weights(encoder, str(tmp_path / "other.pth"))
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not encoder.weights_set and all(torch.equal(encoder.vit.state_dict()[key], before[key]) for key in before)


def test_norm_that_the_architecture_has_not_is_not_left_out(tmp_path):
    torch.save({**weights_of("vit_base_patch16_224"), "norm_pre.weight": torch.ones(36)}, tmp_path / "clip.pth")
    with pytest.raises(UserError, match="the weights of biomedclip, which has no norm_pre.weight"):
        load_vision_weights(small("biomedclip"), str(tmp_path / "clip.pth"))


def test_patch_of_another_size_is_refused_for_the_default_too(tmp_path):
    encoder = SliceEncoder("vit_base_patch14_dinov2.lvd142m", num_maps=1, model_kwargs=SMALL)
    torch.save({**weights_of("vit_base_patch16_224", init_values=1.0)}, tmp_path / "vit16.pth")
    with pytest.raises(UserError, match="their patches have 16 x 16 pixels, and its 14 x 14"):
        load_vision_weights(encoder, str(tmp_path / "vit16.pth"))


def test_cached_file_of_an_encoder_is_found(tmp_path, monkeypatch):
    repository = tmp_path / "models--microsoft--rad-dino"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate_vision_weights("rad-dino") is None
    save_file({"x": torch.zeros(1)}, snapshot / "backbone_compatible.safetensors")
    assert locate_vision_weights("rad-dino") == snapshot / "backbone_compatible.safetensors"
    assert locate_vision_weights("meddinov3") is None


def test_missing_weights_name_the_published_file(monkeypatch):
    monkeypatch.setattr(vision_weights, "locate_vision_weights", lambda name: None)
    monkeypatch.setattr(vision_weights, "hub_reachable", lambda: False)
    with pytest.raises(UserError, match="no pretrained weights of meddinov3 .*ricklisz123/MedDINOv3") as error:
        load_vision_weights(small("meddinov3"), None)
    assert "CDPD_VISION_WEIGHTS to a file of them (model.pth)" in str(error.value)
    assert "no hub entry" in ways_to_vision_weights("my_own")


# ---- the user's choice ----------------------------------------------------------------------------------------------


def test_vit_of_timm_has_the_statistics_of_its_weights():
    encoder = find_encoder("vit_base_patch16_siglip_224.webli")
    assert (encoder.name, encoder.model_name) == ("vit_base_patch16_siglip_224.webli",) * 2
    assert encoder.statistics == ([0.5] * 3, [0.5] * 3) and encoder.window_hu is None


def test_vit_of_timm_is_the_same_encoder_with_and_without_its_tag():
    assert find_encoder("vit_base_patch14_dinov2") == find_encoder("dinov2")


@pytest.mark.parametrize(
    "name, told",
    [
        ("meddino", "no encoder of this name; known are dinov2, dinov2-small, meddinov3, rad-dino, biomedclip"),
        ("vit_base_patch16_224.nobody", "timm knows of no images"),
        ("vit_tiny_patch16_384.nobody", "timm knows of no images"),
        ("resnet50.a1_in1k", "is no ViT of timm"),
        ("vit_base_r50_s16_224.orig_in21k", "is no ViT of timm"),  # whose patches are of what a CNN makes of the image
    ],
)
def test_what_is_no_encoder_is_told_in_one_line(name, told):
    with pytest.raises(UserError, match=f"CDPD_VISION_ENCODER={name}: ") as error:
        find_encoder(name)
    assert told in str(error.value) and "\n" not in str(error.value)


OWN = "model: vit_base_patch16_dinov3\nunit: HU\nmean: 50\nstd: [100, 200, 400]\nwindow: [-100, 300]\n"


def test_own_encoder_is_told_in_a_file(tmp_path):
    path = tmp_path / "my_ct.yaml"
    path.write_text(OWN)
    encoder = find_encoder(str(path))
    assert (encoder.name, encoder.model_name, encoder.window_hu) == ("my_ct", "vit_base_patch16_dinov3", (-100.0, 300.0))
    assert encoder.statistics == ([0.375] * 3, [0.25, 0.5, 1.0])  # of 400 HU
    path = tmp_path / "my_images.yml"
    path.write_text("{model: vit_small_patch16_224, unit: image, mean: [0.1, 0.2, 0.3], std: 0.5}")
    assert find_encoder(str(path)).statistics == ([0.1, 0.2, 0.3], [0.5] * 3)


@pytest.mark.parametrize(
    "change, told",
    [
        (("mean: 50\n", ""), "`mean` is missing"),
        (("unit: HU\n", ""), "`unit` is missing"),
        (("unit: HU", "unit: mm"), "`unit` is 'mm', not HU or image"),
        (("window: [-100, 300]\n", ""), "`window` is missing, the HU"),
        (("[-100, 300]", "[300, -100]"), "not \\(low, high\\) in HU"),
        (("[100, 200, 400]", "[100, 0, 400]"), "`std: 1` is 0, not a number above 0"),
        (("mean: 50", "mean: [1, 2]"), "`mean` is \\[1, 2\\], not a list of 3 values"),
        (("mean: 50", "means: 50"), "unknown key means"),
        (("vit_base_patch16_dinov3", "resnet50"), "`model`: resnet50 is no ViT of timm"),
        (("vit_base_patch16_dinov3", "hf-hub:of/a_stranger"), "`model`: hf-hub:of/a_stranger is no ViT of timm"),
    ],
)
def test_own_encoder_with_something_missing_is_refused(tmp_path, change, told):
    path = tmp_path / "my_ct.yaml"
    assert change[0] in OWN
    path.write_text(OWN.replace(*change))
    with pytest.raises(UserError, match=f"my_ct.yaml: .*{told}") as error:
        find_encoder(str(path))
    assert "\n" not in str(error.value)


def test_own_encoder_may_not_have_the_name_of_another(tmp_path):
    for name in ("meddinov3", "vit_base_patch16_224"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(OWN)
        with pytest.raises(UserError, match=f"{name} is the name of a known encoder; rename the file"):
            find_encoder(str(path))


def test_statistics_of_hu_are_those_of_the_window():
    encoder = replace(ENCODERS["meddinov3"], mean=(0.0,) * 3, std=(500.0,) * 3)
    assert encoder.statistics == ([0.5] * 3, [0.25] * 3)
