"""Text embeddings: every way of giving them, and that nothing stale, damaged or random is taken."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pretrained import kept_embeddings, text
from nnunetv2_cdpd.pretrained.kept_embeddings import TextEmbeddings
from nnunetv2_cdpd.pretrained.text import embed_prompts, load_or_embed, locate_text_weights
from nnunetv2_cdpd.pretrained.text_tables import holds_our_embeddings

CLASSES, TASKS = ("a liver", "a spleen"), ("livers", "spleens", "all")
BIOMED = "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"


@pytest.fixture
def calls(monkeypatch):
    """A stand-in for the text encoder that records its calls."""
    made = []

    def embed(prompts, encoder, weights=None, or_learned=True):
        made.append((encoder, weights))
        return torch.arange(len(prompts) * 4.0).view(-1, 4)

    monkeypatch.setattr(text, "embed_prompts", embed)
    return made


def load(tmp_path, choice=None, **changes):
    arguments = {"class_prompts": CLASSES, "task_prompts": TASKS, "encoder": "ViT-B-32/openai", "choice": choice, **changes}
    return load_or_embed(tmp_path / "cache.safetensors", **arguments)


def test_embeddings_are_made_once_and_cached_with_what_they_were_made_from(tmp_path, calls):
    first, second = (load(tmp_path) for _ in range(2))
    assert len(calls) == 1
    assert torch.equal(first.class_embeddings, second.class_embeddings)
    assert second.class_embeddings.shape == (2, 4) and second.task_embeddings.shape == (3, 4)
    assert torch.equal(second.task_embeddings[0], torch.tensor([8.0, 9, 10, 11]))
    assert (second.class_prompts, second.task_prompts) == (CLASSES, TASKS)
    assert [path.name for path in tmp_path.iterdir()] == ["cache.safetensors"]


def test_two_processes_may_save_at_once(tmp_path, calls, monkeypatch):
    """Each writes a file of its own before it renames it; the other's being renamed meanwhile is no harm."""
    first = load(tmp_path)
    written = []

    def save_while_another_process_does(tensors, path, metadata):
        written.append(path)
        save_file(tensors, path, metadata)
        if len(written) == 1:
            first.save(tmp_path / "cache.safetensors")  # the other one

    monkeypatch.setattr(kept_embeddings, "save_file", save_while_another_process_does)
    first.save(tmp_path / "cache.safetensors")
    assert len(set(written)) == 2 and [path.name for path in tmp_path.iterdir()] == ["cache.safetensors"]


@pytest.mark.parametrize(
    "change",
    [
        {"class_prompts": ("a liver", "a kidney")},
        {"task_prompts": ("livers", "all")},
        {"encoder": "ViT-L-14/openai"},
        {"choice": "clip.pt"},
    ],
)
def test_any_change_makes_them_anew(tmp_path, calls, change):
    load(tmp_path)
    load(tmp_path, **change)
    assert len(calls) == 2


def test_ready_embeddings_are_taken_and_must_be_of_these_prompts(tmp_path, calls):
    path = tmp_path / "ready.safetensors"
    TextEmbeddings(torch.ones(2, 4), torch.zeros(3, 4), CLASSES, TASKS, "mine").save(path)
    assert load(tmp_path, str(path)).encoder == "mine"
    assert not calls and not (tmp_path / "cache.safetensors").exists()
    with pytest.raises(UserError, match="ready.safetensors: these embeddings are of other prompts"):
        load(tmp_path, str(path), class_prompts=("a liver",))


def test_damaged_cache_is_named(tmp_path, calls):
    (tmp_path / "cache.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cache.safetensors: holds no text embeddings"):
        load(tmp_path)


def test_damaged_file_of_ready_embeddings_is_named(tmp_path, calls):
    (tmp_path / "ready.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="ready.safetensors: not readable as safetensors"):
        load(tmp_path, str(tmp_path / "ready.safetensors"))


def test_caches_are_told_apart_from_checkpoints(tmp_path):
    torch.save({}, tmp_path / "clip.pt")
    assert not holds_our_embeddings(tmp_path / "clip.pt")
    assert not holds_our_embeddings(Path("learned"))


def test_auto_is_no_choice(tmp_path, calls):
    assert load(tmp_path, "auto").encoder == load(tmp_path, None).encoder == "ViT-B-32/openai"
    assert calls == [("ViT-B-32/openai", None)]


def test_another_file_of_the_same_name_makes_them_anew(tmp_path, calls):
    weights = tmp_path / "clip.bin"
    for content in (b"one", b"one", b"two"):
        weights.write_bytes(content)
        load(tmp_path, str(weights))
    assert len(calls) == 2


def test_two_tables_in_a_pth_are_taken(tmp_path, calls):
    torch.save({"class_embeddings": torch.ones(2, 5).half(), "task_embeddings": torch.zeros(3, 5)}, tmp_path / "tables.pth")
    ready = load(tmp_path, str(tmp_path / "tables.pth"))
    assert ready.class_embeddings.dtype == torch.float32 and torch.equal(ready.class_embeddings, torch.ones(2, 5))
    assert ready.class_prompts == () and ready.are_of(CLASSES, TASKS) and not calls


def test_folder_of_the_released_tables_is_taken(tmp_path, calls):
    """Released: plain half-precision tensors, one file each."""
    torch.save(torch.full((2, 5), 0.5).half(), tmp_path / "txt_encoding.pth")
    with pytest.raises(UserError, match="holds txt_encoding.pth alone"):
        load(tmp_path, str(tmp_path))
    torch.save(torch.full((3, 5), 0.25).half(), tmp_path / "txt_task_encoding.pth")
    ready = load(tmp_path, str(tmp_path))
    assert torch.equal(ready.task_embeddings, torch.full((3, 5), 0.25)) and not calls


def test_tables_of_other_numbers_are_refused_with_both(tmp_path, calls):
    torch.save({"class_embeddings": torch.ones(32, 5), "task_embeddings": torch.zeros(11, 5)}, tmp_path / "tables.pth")
    with pytest.raises(UserError, match=r"tables.pth: .*\(32 classes, 11 tasks; wanted 2 and 3\)"):
        load(tmp_path, str(tmp_path / "tables.pth"))


@pytest.mark.parametrize(
    "content, told",
    [
        (torch.ones(2, 5), "holds a single table"),
        ({"class_embeddings": torch.full((2, 5), torch.nan), "task_embeddings": torch.ones(3, 5)}, "no finite numbers"),
        ({"class_embeddings": torch.ones(2), "task_embeddings": torch.ones(3, 5)}, "tables must be"),
        ({"class_embeddings": torch.ones(2, 4), "task_embeddings": torch.ones(3, 5)}, r"got \(2, 4\) and \(3, 5\)"),
    ],
)
def test_tables_of_a_wrong_form_are_told(tmp_path, calls, content, told):
    torch.save(content, tmp_path / "tables.pth")
    with pytest.raises(UserError, match=f"tables.pth: .*{told}"):
        load(tmp_path, str(tmp_path / "tables.pth"))


def test_file_that_would_run_code_is_not_executed(tmp_path, calls):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"class_embeddings": Evil()}, tmp_path / "tables.pth")
    load(tmp_path, str(tmp_path / "tables.pth"))  # goes on to the (here stubbed) reader of checkpoints
    assert not (tmp_path / "executed").exists()


def test_changed_values_are_noticed_by_the_checksum(tmp_path):
    path = tmp_path / "ours.safetensors"
    TextEmbeddings(torch.ones(2, 4), torch.ones(3, 4), CLASSES, TASKS, "mine").save(path)
    assert TextEmbeddings.load(path).encoder == "mine"
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["class_embeddings"][0, 0] = 2
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match="ours.safetensors: these text embeddings are damaged"):
        TextEmbeddings.load(path)
    assert json.loads(metadata["class_prompts"]) == list(CLASSES)


def test_no_weights_is_one_error_that_lists_the_ways_out(monkeypatch):
    monkeypatch.setattr(text, "hub_reachable", lambda: False)
    monkeypatch.setattr(text, "locate_text_weights", lambda encoder: None)
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


def test_hub_model_without_internet_lists_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "hub_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate_text_weights(BIOMED) is None
    with pytest.raises(UserError, match="BiomedCLIP.*CDPD_TEXT_WEIGHTS=learned") as error:
        embed_prompts(["a"], BIOMED)
    assert "\n" not in str(error.value)


def test_hub_model_takes_a_folder_not_a_lone_file(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="takes a folder with open_clip_config.json"):
        embed_prompts(["a"], BIOMED, str(tmp_path / "weights.bin"))


def test_encoder_without_weights_is_never_random():
    """open_clip would build a random model for a name without weights."""
    with pytest.raises(UserError, match="CDPD_TEXT_WEIGHTS"):
        embed_prompts(["a"], "ViT-B-32")


@pytest.fixture
def tiny_clip(tmp_path):
    """A folder as open_clip reads it, of a CLIP with a tiny text tower, and that model."""
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.CLIP(**{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder, model


def test_folder_of_an_open_clip_model_is_read(tiny_clip, tmp_path):
    import open_clip

    folder, model = tiny_clip
    embedded = load(tmp_path, str(folder), encoder=BIOMED)
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("ViT-B-32")([*CLASSES, *TASKS]))
    torch.testing.assert_close(torch.cat([embedded.class_embeddings, embedded.task_embeddings]), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected.norm(dim=1), torch.ones(5))  # not normalised
    assert (tmp_path / "cache.safetensors").is_file()


def test_truncated_model_in_a_folder_is_named(tiny_clip):
    folder, _ = tiny_clip
    weights = folder / "open_clip_pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{folder}: not readable"):
        embed_prompts(["a"], BIOMED, str(folder))


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


def test_a_file_whose_prompts_are_none_is_told(tmp_path):
    tables = {name: torch.ones(2, 3) for name in ("class_embeddings", "task_embeddings")}
    metadata = {"class_prompts": "null", "task_prompts": "[]", "encoder": '"x"', "checksum": '"y"'}
    save_file(tables, tmp_path / "theirs.safetensors", metadata)
    with pytest.raises(UserError, match="theirs.safetensors: holds no text embeddings of ours"):
        TextEmbeddings.load(tmp_path / "theirs.safetensors")
