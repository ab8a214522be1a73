"""cdpd embed: makes the embeddings where training looks for them, shows what is there, and tells which classes are alike."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from nnunetv2_cdpd.annotation import read_annotation, with_sigmoid_heads
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture
from nnunetv2_cdpd.pretrained import text
from nnunetv2_cdpd.pretrained.kept_embeddings import CACHE_FILE, TextEmbeddings
from nnunetv2_cdpd.pretrained.text import embed_prompts, load_or_embed
from nnunetv2_cdpd.text.similarity import cosine_similarity, draw_similarity, mean_of_pairs, similarity_text

NAMES = ("liver", "left_kidney", "right_kidney")
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 2},
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A checkpoint of a CLIP with a tiny text tower, in a folder as open_clip reads it, and that model."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder, model


@pytest.fixture
def dataset(nnunet_folders):
    """A dataset of two sources, as `cdpd merge` writes it; only its dataset.json matters here."""
    sources = {"A": {"annotated_classes": ["liver"]}, "B": {"annotated_classes": list(NAMES[1:]), "task_prompt": "Both kidneys"}}
    labels = {"background": 0, **{name: [k, k] for k, name in enumerate(NAMES, start=1)}}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "regions_class_order": [1, 2, 3], "numTraining": 2}
    description |= {"file_ending": ".nii.gz", "cdpd": {"version": 1, "sources": sources, "case_source": {"a": "A", "b": "B"}}}
    folder = nnunet_folders.raw / "Dataset400_Both"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(description))
    return nnunet_folders.preprocessed / "Dataset400_Both" / CACHE_FILE


def architecture_text(dataset_json):
    """The prompts that training asks for."""
    configuration = {
        "patch_size": [16, 16],
        "normalization_schemes": ["CTNormalization"],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2]]},
            "_kw_requires_import": [],
        },
    }
    annotation = read_annotation(with_sigmoid_heads(dataset_json))
    return cdpd_architecture(configuration, annotation, {"0": {"mean": 0.0, "std": 1.0}}, NetworkSettings())["arch_kwargs"]


def test_embeddings_are_written_where_training_looks_and_are_the_encoders(dataset, tiny_clip, nnunet_folders, capsys):
    folder, model = tiny_clip
    assert main(["embed", "400", "--weights", str(folder)]) == 0
    kwargs = architecture_text(json.loads((nnunet_folders.raw / "Dataset400_Both" / "dataset.json").read_text()))
    prompts = kwargs["text"]["class_prompts"], kwargs["task"]["prompts"]
    made = TextEmbeddings.load(dataset)
    assert (list(made.class_prompts), list(made.task_prompts)) == prompts
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("ViT-B-32")([*prompts[0], *prompts[1]]))
    torch.testing.assert_close(torch.cat([made.class_embeddings, made.task_embeddings]), expected, atol=1e-5, rtol=1e-5)
    out = capsys.readouterr().out
    assert f"3 classes, 3 tasks, 24 numbers each, by ViT-B-32/openai from {folder}; ready in {dataset}" in out


def test_training_without_a_choice_takes_what_was_embedded_from_a_file(dataset, tiny_clip, monkeypatch):
    main(["embed", "400", "--weights", str(tiny_clip[0])])
    made = TextEmbeddings.load(dataset)
    monkeypatch.setattr(text, "embed_prompts", None)  # would fail if it were asked again
    arguments = {"class_prompts": made.class_prompts, "task_prompts": made.task_prompts, "choice": None}
    assert load_or_embed(dataset, encoder="ViT-B-32/openai", **arguments).checksum == made.checksum
    with pytest.raises(TypeError):
        load_or_embed(dataset, encoder="ViT-L-14/openai", **arguments)


def test_embedding_again_changes_nothing(dataset, tiny_clip, monkeypatch):
    main(["embed", "400", "--weights", str(tiny_clip[0])])
    before = dataset.stat().st_mtime_ns
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", str(tiny_clip[0]))
    assert main(["embed", "400"]) == 0
    assert dataset.stat().st_mtime_ns == before


def test_table_and_picture_show_the_similarity_of_the_classes(dataset, tiny_clip, tmp_path, capsys):
    main(["embed", "400", "--weights", str(tiny_clip[0]), "--picture", str(tmp_path / "similarity.png")])
    made = TextEmbeddings.load(dataset).class_embeddings.double().numpy()
    cosine = (made[1] @ made[2]) / (np.linalg.norm(made[1]) * np.linalg.norm(made[2]))
    out = capsys.readouterr().out
    row = next(line for line in out.partition("cosine similarity")[2].splitlines() if "left_kidney" in line)
    assert row.split() == ["2", "left_kidney", *map(str, [round(100 * cosine_of(made, 1, k)) for k in range(3)])]
    assert str(round(100 * cosine)) == row.split()[4]
    with Image.open(tmp_path / "similarity.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
    assert [path.name for path in tmp_path.glob("*.png*")] == ["similarity.png"]


def cosine_of(rows, i, j):
    return (rows[i] @ rows[j]) / (np.linalg.norm(rows[i]) * np.linalg.norm(rows[j]))


def test_other_file_is_written_instead(dataset, tiny_clip, tmp_path, capsys):
    assert main(["embed", "400", "--weights", str(tiny_clip[0]), "-o", str(tmp_path / "sub" / "mine.safetensors")]) == 0
    assert not dataset.exists() and TextEmbeddings.load(tmp_path / "sub" / "mine.safetensors").class_embeddings.shape == (3, 24)
    capsys.readouterr()
    assert main(["embed", "--file", str(tmp_path / "sub" / "mine.safetensors")]) == 0
    assert "A computerized tomography of a left kidney" in capsys.readouterr().out


OWN_WORDS = {"left_kidney": ["A CT of the left kidney", "The kidney left of the spine"], "liver": ["My liver"]}


def test_own_words_are_averaged_and_shown(dataset, tiny_clip, nnunet_folders, capsys):
    path = nnunet_folders.raw / "Dataset400_Both" / "dataset.json"
    content = json.loads(path.read_text())
    content["cdpd"]["class_prompts"] = OWN_WORDS
    path.write_text(json.dumps(content))
    prompts = architecture_text(content)["text"]["class_prompts"]
    assert prompts == ["My liver", OWN_WORDS["left_kidney"], "A computerized tomography of a right kidney"]
    assert main(["embed", "400", "--weights", str(tiny_clip[0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  1  liver         My liver" in lines and "  2  left_kidney   A CT of the left kidney   (mean of 2)" in lines
    assert f"{' ' * 19}The kidney left of the spine" in lines and "     task 2        Both kidneys" in lines
    made = TextEmbeddings.load(dataset)
    with torch.no_grad():
        one, two = tiny_clip[1].encode_text(open_clip.get_tokenizer("ViT-B-32")(OWN_WORDS["left_kidney"]))
    direction = one / one.norm() + two / two.norm()
    expected = direction / direction.norm() * (one.norm() + two.norm()) / 2
    torch.testing.assert_close(made.class_embeddings[1], expected, atol=1e-5, rtol=1e-5)
    # what training asks for is what is kept
    arguments = {"task_prompts": made.task_prompts, "choice": None, "encoder": "ViT-B-32/openai"}
    assert load_or_embed(dataset, class_prompts=prompts, **arguments).checksum == made.checksum
    assert not made.are_of([*prompts[:1], OWN_WORDS["left_kidney"][:1], prompts[2]], made.task_prompts)


@pytest.mark.parametrize("flag", ["-o", "--picture"])
def test_files_of_others_are_never_replaced(flag, dataset, tiny_clip, tmp_path, capsys):
    place = tmp_path / "place.png"
    command = ["embed", "400", "--weights", str(tiny_clip[0]), flag, str(place)]
    assert main(command) == main(command) == 0  # its own it may replace
    place.write_bytes(b"precious")
    assert main(command) == 1
    assert "place.png: nothing says that this command made it; nothing was changed, give another" in capsys.readouterr().err
    assert place.read_bytes() == b"precious"


def test_ready_tables_are_shown_and_not_copied(dataset, tmp_path, capsys):
    torch.save({"class_embeddings": torch.eye(3, 5), "task_embeddings": torch.ones(3, 5)}, tmp_path / "tables.pth")
    assert main(["embed", "400", "--weights", str(tmp_path / "tables.pth")]) == 0
    out = capsys.readouterr().out
    assert "nothing was written" in out and "0 in the mean" in out
    assert not dataset.exists()


def test_folder_of_the_released_tables_is_shown(tmp_path, capsys):
    torch.save(torch.eye(32, 40).half(), tmp_path / "txt_encoding.pth")
    torch.save(torch.ones(11, 40).half(), tmp_path / "txt_task_encoding.pth")
    assert main(["embed", "--file", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "32 classes, 11 tasks, 40 numbers each" in out and "class 32" in out


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "takes a DATASET, or --file FILE"),
        (["400", "--file", "x"], "takes a DATASET, or --file FILE"),
        (["--file", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["400", "--weights", "nowhere.pt"], "nowhere.pt: no such file"),
        (["400", "--weights", "learned"], "the network learns its embeddings, and there are none to make"),
    ],
)
def test_mistakes_are_told_in_one_line(dataset, arguments, told, capsys):
    assert main(["embed", *arguments]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_file_of_something_else_is_told(tmp_path, capsys):
    torch.save({"net": torch.ones(2)}, tmp_path / "other.pth")
    assert main(["embed", "--file", str(tmp_path / "other.pth")]) == 1
    assert "other.pth: holds no text embeddings" in capsys.readouterr().err


def test_no_place_to_write_to_is_told(dataset, tiny_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_preprocessed", "")
    assert main(["embed", "400", "--weights", str(tiny_clip[0])]) == 1
    assert "nnUNet_preprocessed is not set" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["embed", "400", "--weights", str(tiny_clip[0]), "-o", str(tmp_path / "file" / "x.safetensors")]) == 1
    assert f"{tmp_path / 'file'}: File exists; choose another place" in capsys.readouterr().err
    picture = tmp_path / "nowhere" / "similarity.png"
    out = tmp_path / "x.safetensors"
    assert main(["embed", "400", "--weights", str(tiny_clip[0]), "-o", str(out), "--picture", str(picture)]) == 1
    assert f"{picture.parent}: no such file or folder; give another" in capsys.readouterr().err


def test_similarity_does_not_depend_on_length_and_one_with_itself_is_1():
    similarity = cosine_similarity(torch.tensor([[2.0, 0.0], [0.0, 0.5], [3.0, 3.0]]))
    np.testing.assert_allclose(similarity, [[1, 0, 0.5**0.5], [0, 1, 0.5**0.5], [0.5**0.5, 0.5**0.5, 1]], atol=1e-12)
    assert mean_of_pairs(similarity) == pytest.approx(2 * 0.5**0.5 / 3)
    assert np.isnan(mean_of_pairs(similarity[:1, :1]))


def test_many_classes_are_listed_with_those_most_alike():
    angles = torch.linspace(0, 1.5, 41)
    similarity = cosine_similarity(torch.stack([angles.cos(), angles.sin()], 1))
    first, *_, last = similarity_text([f"class{k}" for k in range(41)], similarity).splitlines()
    assert first.split() == ["class0", "class1", "100,", "class2", "100,", "class3", "99"]
    assert last.split()[1] == "class39"


def test_picture_of_a_single_class_is_drawn(tmp_path):
    draw_similarity(["liver"], np.ones((1, 1)), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_prompts_are_embedded_alike_alone_and_together(tiny_clip):
    both = embed_prompts(["a liver", "a spleen"], "ViT-B-32/openai", str(tiny_clip[0]))
    alone = embed_prompts(["a spleen"], "ViT-B-32/openai", str(tiny_clip[0]))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)


def test_a_single_class_has_no_similarity(tmp_path, capsys):
    torch.save({"class_embeddings": torch.ones(1, 5), "task_embeddings": torch.ones(1, 5)}, tmp_path / "tables.pth")
    assert main(["embed", "--file", str(tmp_path / "tables.pth")]) == 0
    out = capsys.readouterr().out
    assert "in percent, - in the mean" in out and "nan" not in out
