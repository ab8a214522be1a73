"""A run: its file, that it goes on as if never stopped, and what it refuses."""

import csv
import json
import re
from dataclasses import replace

import pytest
import torch
from builders import dataset as tiny_dataset
from builders.pretraining import ENCODER, SETTINGS, TINY, Stopped, tiny_pretraining, write_cts
from safetensors import safe_open
from safetensors.torch import load_file

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretrained.vision import load_vision_weights
from nnunetv2_cdpd.pretraining import pretrain
from nnunetv2_cdpd.pretraining.steps import Steps
from nnunetv2_cdpd.training.encoder_facts import HEADER_KEY, encoder_facts_of, told_facts


@pytest.fixture(scope="module")
def cts(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("images") / "DOE_JOHN")


@pytest.fixture(scope="module")
def whole(cts, tmp_path_factory):
    """A run that was never stopped."""
    output = tmp_path_factory.mktemp("whole") / "vit.safetensors"
    lines = []
    assert tiny_pretraining(output, cts, report=lines.append) == {}
    return output, lines


def stop_at(monkeypatch, iteration):
    """Have the run end as if killed before it does an iteration."""
    step = Steps.step

    def stopping(self, number, slices):
        if number == iteration:
            raise Stopped
        return step(self, number, slices)

    monkeypatch.setattr(Steps, "step", stopping)


def stopped_run(output, cts, monkeypatch, iteration=4, **options):
    with monkeypatch.context() as patch:
        stop_at(patch, iteration)
        with pytest.raises(Stopped):
            tiny_pretraining(output, cts, save_seconds=0, **options)


def test_the_file_is_one_that_the_loader_takes_and_gives_other_tokens(whole):
    output, _ = whole
    torch.manual_seed(SETTINGS.seed)
    begun, encoder = (SliceEncoder(ENCODER, num_maps=2, model_kwargs=TINY) for _ in range(2))
    assert load_vision_weights(encoder, str(output)) == str(output)
    x = torch.randn(1, 1, 2, 32, 32)
    (tokens, _), (tokens_at_random, _) = encoder(x), begun(x)
    assert tokens.shape == (1, 24, 2, 2, 2) and torch.isfinite(tokens).all()
    assert not torch.allclose(tokens, tokens_at_random)


def test_only_the_weights_and_the_log_are_left(whole):
    output, lines = whole
    assert sorted(path.name for path in output.parent.iterdir()) == ["vit.csv", "vit.safetensors"]
    assert lines[0] == "15 slices of 3 images (a folder of images: 3 images)"
    spread = r"spread of slices [01]\.\d\d, of patches [01]\.\d\d"
    assert re.match(rf"iteration 1 of 6: loss \d+\.\d{{3}}, {spread}; .* s each, about .* left", lines[1])
    assert (
        lines[-1]
        == f"{output}: give it to planning and training by CDPD_VISION_ENCODER={SETTINGS.encoder} CDPD_VISION_WEIGHTS={output}"
    )
    with output.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["1", "6"]
    assert list(rows[0]) == ["iteration", "loss", "dino", "ibot", "koleo", "information", "slice_spread", "patch_spread", "lr"]


def test_the_header_says_how_it_was_made_and_names_no_patient(whole):
    output, _ = whole
    with safe_open(output, framework="pt") as file:
        text = file.metadata()[HEADER_KEY]
    assert "DOE" not in text and "scan_" not in text and str(output.parent) not in text
    facts = json.loads(text)
    assert facts == encoder_facts_of(output)
    assert facts["data"] == [{"name": "a folder of images", "images": 3, "slices": 15}]
    assert facts["began_with"] == {"kind": "random", "sha256": None, "license": None, "pretrained": None}
    assert set(facts["versions"]) == {"python", "nnunetv2-cdpd", "torch", "timm", "lightly"}
    assert told_facts(facts) == (
        "pretrained without labels (DINOv2: DINO, iBOT and KoLeo losses, arXiv 2304.07193), 6 iterations on 3 images of a "
        "folder of images, from nothing"
    )


@pytest.mark.parametrize("iteration", [1, 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(whole, cts, tmp_path, monkeypatch, iteration):
    output = tmp_path / "vit.safetensors"
    stopped_run(output, cts, monkeypatch, iteration)
    assert not output.exists()
    lines = []
    tiny_pretraining(output, cts, report=lines.append, resume=True)
    assert f"going on after {iteration} of 6 iterations" in lines
    expected, found = load_file(whole[0]), load_file(output)
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    assert output.with_suffix(".csv").read_text() == whole[0].with_suffix(".csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vit.csv", "vit.safetensors"]


def test_continue_begins_where_there_is_nothing_and_ends_at_once_where_all_is_done(whole, cts, tmp_path, monkeypatch):
    output = tmp_path / "vit.safetensors"
    tiny_pretraining(output, cts, resume=True)
    before = output.read_bytes()
    stop_at(monkeypatch, 0)
    lines = []
    assert tiny_pretraining(output, cts, resume=True, report=lines.append) == {}
    assert lines == [f"{output} is there already, made by this run"] and output.read_bytes() == before


def test_another_seed_is_another_result(whole, cts, tmp_path):
    tiny_pretraining(tmp_path / "vit.safetensors", cts, settings=replace(SETTINGS, seed=1))
    one, other = load_file(whole[0]), load_file(tmp_path / "vit.safetensors")
    assert not torch.equal(one["cls_token"], other["cls_token"])


def test_epochs_are_iterations_by_the_number_of_slices(cts, tmp_path):
    settings = replace(SETTINGS, iterations=None, epochs=1)  # 15 slices, 4 at a time
    tiny_pretraining(tmp_path / "vit.safetensors", cts, settings=settings)
    assert encoder_facts_of(tmp_path / "vit.safetensors")["iterations"] == 4


def test_all_slices_are_seen_before_one_is_seen_again():
    encoders = (SliceEncoder(ENCODER, num_maps=1, model_kwargs=TINY) for _ in range(2))
    steps = Steps(*encoders, SETTINGS, num_slices=6, device=torch.device("cpu"))
    seen = [number for iteration in range(3) for number in steps.wanted(iteration)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6)) and seen[:6] != seen[6:]
    parts = []
    for rank in range(2):
        steps.rank, steps.num_processes = rank, 2
        parts += steps.wanted(1)
    assert parts == seen[4:8]


def test_it_begins_with_the_weights_that_are_given(whole, cts, tmp_path):
    """Nothing is learned at a rate near 0: what comes out is what went in."""
    settings = replace(SETTINGS, iterations=1, lr=1e-30)
    output = tmp_path / "vit.safetensors"
    tiny_pretraining(output, cts, settings=settings, from_nothing=False, weights=str(whole[0]))
    given, found = load_file(whole[0]), load_file(output)
    assert all(torch.allclose(found[key], given[key], atol=1e-7) for key in given)
    start = encoder_facts_of(output)["began_with"]
    assert start["kind"] == "file" and len(start["sha256"]) == 64 and start["pretrained"].endswith("from nothing")
    assert "from a file that the user gave of vit_tiny_patch16_224, license not known (pretrained without labels" in told_facts(
        encoder_facts_of(output)
    )


def test_datasets_and_folders_are_learned_from_together(raw, cts, tmp_path):
    tiny_dataset.write_raw_dataset(raw, "Dataset811_Liver", num_cases=2)
    settings = replace(SETTINGS, iterations=1)
    output = tmp_path / "vit.safetensors"
    pretrain(
        output,
        datasets=["811"],
        folders=[cts],
        from_nothing=True,
        settings=settings,
        device="cpu",
        num_processes=1,
        progress=False,
    )
    assert encoder_facts_of(output)["data"] == [
        {"name": "Dataset811_Liver", "images": 2, "slices": 10},
        {"name": "a folder of images", "images": 3, "slices": 15},
    ]


def test_slices_stay_where_the_user_wants_them(cts, tmp_path, monkeypatch):
    settings = replace(SETTINGS, iterations=1)
    tiny_pretraining(tmp_path / "a.safetensors", cts, settings=settings, slices=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.b2nd"))) == 3
    monkeypatch.setattr("nnunetv2_cdpd.pretraining.slices.cut", lambda job: pytest.fail("is read again"))
    tiny_pretraining(tmp_path / "b.safetensors", cts, settings=settings, slices=tmp_path / "kept")


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_an_unreadable_image_is_left_out_and_told(tmp_path):
    cts = write_cts(tmp_path / "cts")
    (cts / "scan_1.nii.gz").write_bytes(b"no image")
    lines = []
    settings = replace(SETTINGS, iterations=1)
    failed = tiny_pretraining(tmp_path / "vit.safetensors", cts, settings=settings, report=lines.append)
    assert list(failed) == [f"{cts}/scan_1"] and "scan_1.nii.gz" in failed[f"{cts}/scan_1"]
    assert lines[:2] == [
        "10 slices of 2 images (a folder of images: 2 images)",
        "left out, being unreadable: 1 image; the end says why",
    ]


def test_no_readable_image_is_an_error(tmp_path):
    cts = write_cts(tmp_path / "cts", 2)
    for path in cts.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of 2 cases could be read; case '.*scan_0'"):
        tiny_pretraining(tmp_path / "vit.safetensors", cts)
    assert [path.name for path in tmp_path.iterdir()] == ["cts"]


def test_an_output_that_is_there_stays(whole, cts, tmp_path):
    output = tmp_path / "vit.safetensors"
    output.write_bytes(b"mine")
    with pytest.raises(UserError, match="is there already; go on with it by argument resume, remove it"):
        tiny_pretraining(output, cts)
    with pytest.raises(UserError, match="was not made by a pretraining of this release"):
        tiny_pretraining(output, cts, resume=True)
    assert output.read_bytes() == b"mine"


def test_a_run_that_is_not_at_its_end_stays(cts, tmp_path, monkeypatch):
    output = tmp_path / "vit.safetensors"
    stopped_run(output, cts, monkeypatch)
    with pytest.raises(
        UserError, match=r"vit.checkpoint.pth: is of a run that has not come to its end; go on with it by argument re"
    ):
        tiny_pretraining(output, cts)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lr": 0.002}, "argument lr: 0.001, now 0.002"),
        ({"batch_size": 6}, "argument batch_size: 4, now 6"),
        ({"iterations": 7}, "argument iterations: 6, now 7"),
        ({"window_hu": (-100.0, 200.0)}, "argument window_hu: -175.0 250.0, now -100.0 200.0"),
    ],
)
def test_a_run_is_not_continued_with_another_setting(whole, cts, tmp_path, monkeypatch, changes, told):
    settings = replace(SETTINGS, **changes)
    with pytest.raises(UserError, match=f"vit.safetensors: of a run with another setting, {re.escape(told)}; go on"):
        tiny_pretraining(whole[0], cts, resume=True, settings=settings)  # that is at its end
    stopped_run(tmp_path / "vit.safetensors", cts, monkeypatch, iteration=1)
    with pytest.raises(UserError, match=f"vit.checkpoint.pth: of a run with another setting, {re.escape(told)}; go on"):
        tiny_pretraining(tmp_path / "vit.safetensors", cts, resume=True, settings=settings)


def test_a_run_is_not_continued_with_other_images_or_weights(whole, cts, tmp_path):
    with pytest.raises(UserError, match="another setting, the weights to begin with: random, now [0-9a-f]{64}"):
        tiny_pretraining(whole[0], cts, resume=True, from_nothing=False, weights=str(whole[0]))
    with pytest.raises(UserError, match="another setting, the digest of the images: "):
        tiny_pretraining(whole[0], write_cts(tmp_path / "cts", 4), resume=True)


def test_a_damaged_checkpoint_is_named(cts, tmp_path):
    (tmp_path / "vit.checkpoint.pth").write_bytes(b"torn")
    with pytest.raises(UserError, match="vit.checkpoint.pth: cut off, damaged, .*; remove it and begin again"):
        tiny_pretraining(tmp_path / "vit.safetensors", cts, resume=True)
    torch.save({"network_weights": {}}, tmp_path / "vit.checkpoint.pth")
    with pytest.raises(UserError, match="vit.checkpoint.pth: no checkpoint of a pretraining; remove it"):
        tiny_pretraining(tmp_path / "vit.safetensors", cts, resume=True)


def test_a_loss_that_is_no_number_ends_the_run(cts, tmp_path, monkeypatch):
    monkeypatch.setattr("nnunetv2_cdpd.pretraining.learning.KOLEO_WEIGHT", float("nan"))
    with pytest.raises(
        UserError, match="the loss of iteration 1 is no finite number; begin again with an argument lr below 0.001"
    ):
        tiny_pretraining(tmp_path / "vit.safetensors", cts)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 1}, "argument batch_size 1: slices are compared with each other; give 2 or more"),
        ({"lr": 0.0}, "argument lr 0.0: give a number above 0"),
        ({"epochs": 3}, "argument epochs and argument iterations: both say how long"),
        ({"seed": -1}, "argument seed -1: give 0 or more"),
        ({"window_hu": (250.0, -175.0)}, "argument window_hu 250 -175: give the lower HU"),
        ({"encoder": "vit_of_nobody"}, "argument encoder vit_of_nobody: no ViT of patches that timm knows"),
        ({"encoder": "vit_base_r50_s16_224", "model_kwargs": {}}, "argument encoder vit_base_r50_s16_224: no ViT of patches"),
        ({"encoder": "deit_tiny_distilled_patch16_224"}, "the recipe needs one class token"),
        ({"encoder": "resnet18", "model_kwargs": {}}, "argument encoder resnet18: no ViT of patches that timm knows"),
        ({"encoder": "vit_small_patch16_dinov3"}, "the recipe needs one class token and absolute position embeddings"),
    ],
)
def test_settings_that_cannot_be_are_refused(cts, tmp_path, changes, told):
    with pytest.raises(UserError, match=re.escape(told)):
        tiny_pretraining(tmp_path / "vit.safetensors", cts, settings=replace(SETTINGS, **changes))
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_are_refused(cts, tmp_path):
    with pytest.raises(UserError, match="vit.pth: a file of weights; give it a name that ends in .safetensors"):
        tiny_pretraining(tmp_path / "vit.pth", cts)
    with pytest.raises(UserError, match="no folder .*missing; make it first"):
        tiny_pretraining(tmp_path / "missing" / "vit.safetensors", cts)


def test_weights_and_nothing_exclude_each_other(cts, tmp_path):
    with pytest.raises(UserError, match="argument weights and argument from_nothing: give one of them"):
        tiny_pretraining(tmp_path / "vit.safetensors", cts, weights="dinov2.pth")


def test_without_lightly_the_extra_is_named(cts, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    with pytest.raises(UserError, match=r"pretraining needs lightly.loss; run: pip install 'nnunetv2-cdpd\[pretrain\]'"):
        tiny_pretraining(tmp_path / "vit.safetensors", cts)


def test_a_full_disk_stops_no_run_that_can_save_later(whole, cts, tmp_path, monkeypatch):
    import errno

    save, calls, lines = torch.save, [], []

    def full_at_first(content, path):
        calls.append(content["done"])
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, path)

    monkeypatch.setattr("nnunetv2_cdpd.pretraining.keeping.torch.save", full_at_first)
    tiny_pretraining(tmp_path / "vit.safetensors", cts, save_seconds=0, report=lines.append)
    assert calls == [1, 2, 3, 4, 5]
    (line,) = [line for line in lines if "cannot be saved" in line]
    assert line.startswith(f"WARNING: {tmp_path}") and "(No space left on device); the one before stays" in line
    assert torch.equal(load_file(tmp_path / "vit.safetensors")["cls_token"], load_file(whole[0])["cls_token"])
