"""Prompts, their embeddings and the modulation by them."""

from pathlib import Path

import pytest
import torch

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.task_prompt import TaskPrompt
from nnunetv2_cdpd.network.text_modulation import TEXT_CHANNELS, PromptEmbeddings, TextModulation
from nnunetv2_cdpd.text import embeddings
from nnunetv2_cdpd.text.embeddings import TextEmbeddings, embed_prompts, load_or_embed
from nnunetv2_cdpd.text.prompts import class_prompt, task_prompt, universal_task_prompt

CLASS_PROMPTS, TASK_PROMPTS = ("a liver", "a spleen"), ("livers", "all", "spleens")


@pytest.mark.parametrize(
    "name, prompt",
    [
        ("liver", "A computerized tomography of a liver"),
        ("right_kidney", "A computerized tomography of a right kidney"),
        ("LeftParotid", "A computerized tomography of a left parotid"),
        ("aorta", "A computerized tomography of an aorta"),
        ("lungs", "A computerized tomography of lungs"),
    ],
)
def test_class_prompts_are_english(name, prompt):
    assert class_prompt(name) == prompt


def test_task_prompts_list_what_is_segmented():
    assert task_prompt(["liver", "liver_tumor"]) == "A task of segmenting liver, liver tumor in computerized tomography"
    assert "all structures" in universal_task_prompt(["liver"])


@pytest.fixture
def counted(monkeypatch):
    """A stand-in for the text encoder, which counts its calls; the real one is tested below."""
    calls = []

    def embed(prompts, encoder, weights=None):
        calls.append((tuple(prompts), encoder, weights))
        return torch.arange(len(prompts) * 4.0).view(-1, 4)

    monkeypatch.setattr(embeddings, "embed_prompts", embed)
    return calls


def load(cache, **changes):
    arguments = {"class_prompts": CLASS_PROMPTS, "task_prompts": TASK_PROMPTS, "encoder": "ViT-B-32/openai", "choice": None, **changes}
    return load_or_embed(cache, **arguments)


def test_embeddings_are_made_once_and_cached_with_what_they_were_made_from(tmp_path, counted):
    first, second = (load(tmp_path / "cache.safetensors") for _ in range(2))
    assert len(counted) == 1
    assert torch.equal(first.class_embeddings, second.class_embeddings)
    assert second.class_embeddings.shape == (2, 4) and second.task_embeddings.shape == (3, 4)
    assert torch.equal(second.task_embeddings[0], torch.tensor([8.0, 9, 10, 11]))
    assert (second.class_prompts, second.task_prompts) == (CLASS_PROMPTS, TASK_PROMPTS)
    assert [path.name for path in tmp_path.iterdir()] == ["cache.safetensors"]


@pytest.mark.parametrize(
    "change",
    [{"class_prompts": ("a liver", "a kidney")}, {"task_prompts": ("livers", "all")}, {"encoder": "ViT-L-14/openai"}, {"choice": "clip.pt"}],
)
def test_any_change_makes_them_anew(tmp_path, counted, change):
    load(tmp_path / "cache.safetensors")
    load(tmp_path / "cache.safetensors", **change)
    assert len(counted) == 2


def test_ready_embeddings_are_taken_and_must_be_of_these_prompts(tmp_path, counted):
    path = tmp_path / "ready.safetensors"
    TextEmbeddings(torch.ones(2, 4), torch.zeros(3, 4), CLASS_PROMPTS, TASK_PROMPTS, "mine").save(path)
    assert load(tmp_path / "cache.safetensors", choice=str(path)).encoder == "mine"
    assert not counted and not (tmp_path / "cache.safetensors").exists()
    with pytest.raises(UserError, match="ready.safetensors: these embeddings are of other prompts"):
        load(tmp_path / "cache.safetensors", choice=str(path), class_prompts=("a liver",))


def test_damaged_cache_is_named(tmp_path, counted):
    (tmp_path / "cache.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cache.safetensors: holds no text embeddings"):
        load(tmp_path / "cache.safetensors")


def test_no_weights_is_one_error_that_lists_the_ways_out(monkeypatch):
    monkeypatch.setattr(embeddings, "hub_reachable", lambda: False)
    monkeypatch.setattr(embeddings, "locate_text_weights", lambda encoder: None)
    with pytest.raises(UserError, match="CDPD_TEXT_WEIGHTS to a file.*CDPD_TEXT_WEIGHTS=learned"):
        embed_prompts(["a"], "ViT-B-32/openai")


def test_missing_and_damaged_checkpoints_and_unknown_encoders_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.pt: no such file"):
        embed_prompts(["a"], "ViT-B-32/openai", str(tmp_path / "nowhere.pt"))
    (tmp_path / "broken.pt").write_bytes(b"broken")
    with pytest.raises(UserError, match="broken.pt: not readable as weights of ViT-B-32"):
        embed_prompts(["a"], "ViT-B-32/openai", str(tmp_path / "broken.pt"))
    with pytest.raises(UserError, match="unknown to open_clip"):
        embed_prompts(["a"], "NoSuchModel/openai")


@pytest.mark.slow
def test_real_encoder_reads_a_checkpoint_of_open_clip(tmp_path):
    """ViT-B-32 with random weights, saved as open_clip saves it: the embeddings must be those of that very model."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None, force_quick_gelu=True).eval()  # as OpenAI's
    path = tmp_path / "clip.pt"
    torch.save(model.state_dict(), path)
    embedded = embed_prompts(["a liver", "a spleen"], "ViT-B-32/openai", str(path))
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(["a liver", "a spleen"]))
    assert embedded.shape == (2, 512)
    torch.testing.assert_close(embedded, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(embedded[0], embedded[1])


def test_modulation_starts_as_the_identity_and_learns():
    modulation, text = TextModulation(3, 5), torch.randn(3, TEXT_CHANNELS)
    x = torch.randn(2, 5, 3, 4, 6)
    assert torch.equal(modulation(x, text), x)
    modulation(x, text).square().sum().backward()
    assert modulation.scale.grad.abs().sum() > 0 and modulation.shift.grad.abs().sum() > 0


def test_prompts_can_be_added_without_changing_what_was_learned():
    """New prompts get zero weights behind the learned ones."""
    old, new = TextModulation(3, 5), TextModulation(4, 5)
    torch.nn.init.normal_(old.scale), torch.nn.init.normal_(old.shift)
    with torch.no_grad():
        new.scale[:, :3], new.shift[:, :3] = old.scale, old.shift
    text, x = torch.randn(4, TEXT_CHANNELS), torch.randn(1, 5, 3, 4)
    torch.testing.assert_close(new(x, text), old(x, text[:3]))


def test_embeddings_are_fixed_unless_learned():
    fixed, learned = (PromptEmbeddings(3, 8, learned=flag) for flag in (False, True))
    assert not fixed.embeddings.requires_grad and not fixed.embeddings_set
    assert learned.embeddings.requires_grad and learned.embeddings_set
    assert fixed.state_dict().keys() == learned.state_dict().keys()


def test_task_prompt_appends_the_channel_of_each_samples_task():
    torch.manual_seed(0)
    conv = {
        "conv_op": torch.nn.Conv3d, "kernel_size": 3, "conv_bias": True, "norm_op": torch.nn.InstanceNorm3d,
        "norm_op_kwargs": {}, "dropout_op": None, "dropout_op_kwargs": None, "nonlin": torch.nn.LeakyReLU, "nonlin_kwargs": {},
    }  # fmt: skip
    prompt = TaskPrompt(8, 4, conv)
    x, text = torch.randn(3, 8, 2, 3, 4), torch.randn(4, TEXT_CHANNELS)
    out = prompt(x, torch.tensor([3, 0, 3]), text)
    assert out.shape == (3, 9, 2, 3, 4)
    assert torch.equal(out[:, :8], x)
    for sample, task in enumerate((3, 0, 3)):
        assert torch.equal(out[sample, 8], prompt(x, torch.full((3,), task), text)[sample, 8])
    assert not torch.allclose(prompt(x, torch.tensor([0, 0, 0]), text)[0, 8], out[0, 8])


def test_caches_are_told_apart_from_checkpoints(tmp_path):
    torch.save({}, tmp_path / "clip.pt")
    assert not embeddings._holds_embeddings(tmp_path / "clip.pt")
    assert not embeddings._holds_embeddings(Path("learned"))
