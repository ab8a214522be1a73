"""cdpd import-official: a released checkpoint becomes a model folder with which nnU-Net's own commands predict."""

import json
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from builders.project import CLONE
from builders.release import VISION_KWARGS, tiny_network, write_checkpoint, write_vision_weights
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_cdpd import link
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference import models
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.released import model_folder
from nnunetv2_cdpd.released.model_folder import import_official, vision_choice
from nnunetv2_cdpd.released.sources import ANNOTATED_BY_TASK

TINY_VIT = {"vision_kwargs": VISION_KWARGS}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The released checkpoint, weights of its ViT, and an image that is turned and anisotropic."""
    folder = tmp_path_factory.mktemp("released")
    affine = np.array([[0.0, 0, -2.5, 40], [-1.3, 0, 0, 60], [0, 1.9, 0, -20], [0, 0, 0, 1]])
    volume = np.random.default_rng(0).normal(0, 150, (36, 44, 22)).astype(np.float32)
    (folder / "images").mkdir()
    nibabel.save(nibabel.Nifti1Image(volume, affine), folder / "images" / "case_0000.nii.gz")
    write_checkpoint(folder / "cdpdnet.pth", tiny_network())
    write_vision_weights(folder / "vit.pth")
    return folder


@pytest.fixture(scope="module")
def model(files):
    import_official(files / "cdpdnet.pth", files / "model", dinov2=files / "vit.pth", **TINY_VIT)
    return files / "model"


@pytest.fixture(scope="module")
def predictor(model):
    """nnU-Net's own, without `cdpd link`."""
    from nnunetv2.inference import predict_from_raw_data as host

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "recursive_find_trainer_class_by_name", models.find_trainer)
        made = nnUNetPredictor(device=torch.device("cpu"), verbose=False, allow_tqdm=False)
        made.initialize_from_trained_model_folder(str(model), ("all",))
    made.network.eval()
    return made


def test_the_folder_is_one_of_nnunet(model):
    assert sorted(path.relative_to(model).as_posix() for path in model.rglob("*.*")) == [
        "dataset.json", "fold_all/checkpoint_final.pth", "plans.json",
    ]  # fmt: skip
    plans = json.loads((model / "plans.json").read_text())
    assert plans["transpose_forward"] == [2, 1, 0] and plans["image_reader_writer"] == "NibabelIOWithReorient"
    configuration = plans["configurations"]["3d_fullres"]
    assert (configuration["patch_size"], configuration["spacing"]) == ([96] * 3, [1.5] * 3)
    labels = json.loads((model / "dataset.json").read_text())["labels"]
    assert list(labels)[:4] == ["background", "spleen", "right_kidney", "left_kidney"] and len(labels) == 33
    checkpoint = torch.load(model / "fold_all" / "checkpoint_final.pth", weights_only=True)
    assert checkpoint["trainer_name"] == "nnUNetTrainerCDPD"


def test_the_network_is_the_released_one(predictor, files):
    expected = tiny_network()
    expected.slice_encoder.vit.load_state_dict(torch.load(files / "vit.pth", weights_only=True))
    x = torch.rand(1, 1, 32, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(predictor.network(x, torch.tensor([4])), expected(x, torch.tensor([4])))
    assert predictor.network.slice_encoder.weights_set and predictor.network.text_embeddings_set
    assert predictor.allowed_mirroring_axes is None


def assert_written_for(image, label):
    image, label = nibabel.load(image), nibabel.load(label)
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-5)
    assert label.shape == image.shape and set(np.unique(label.dataobj)) <= set(range(33))


def test_our_predictor_reads_one_task(model, files, tmp_path):
    ours = Predictor.from_folder(model, device="cpu")
    prediction = ours.predict(files / "images" / "case_0000.nii.gz", task="KiTS", output=tmp_path / "case.nii.gz")
    assert set(prediction.values) == {"right_kidney", "left_kidney", "kidney_tumor", "kidney_cyst"}
    assert_written_for(files / "images" / "case_0000.nii.gz", tmp_path / "case.nii.gz")
    with pytest.raises(UserError, match="no task 'KITS'; this model was trained on BTCV, Pancreas-CT"):
        ours.select(task="KITS")


def test_our_predictor_and_the_network_itself_read_all_tasks_alike(model, predictor):
    ours = Predictor.from_folder(model, device="cpu")
    x = torch.rand(1, 1, 32, 32, 64, generator=torch.Generator().manual_seed(2))
    ours.select()
    with torch.no_grad():
        torch.testing.assert_close(ours.network.eval()(x), predictor.network(x), atol=1e-4, rtol=1e-4)


def run_stock(entry_point, *options, **environment):
    """A command of nnU-Net as a process of its own, which finds the trainer by nnUNet_extTrainer."""
    code = f"from nnunetv2.inference.predict_from_raw_data import {entry_point} as main\nif __name__ == '__main__': main()"
    environment = {**os.environ, "PYTHONPATH": str(CLONE), "nnUNet_extTrainer": str(link.EXT_TRAINER_FOLDER), **environment}
    return subprocess.run([sys.executable, "-c", code, *map(str, options)], env=environment, check=True, capture_output=True)


def test_nnunetv2_predict_predicts_by_the_names_of_the_folder(model, files, tmp_path):
    folder = tmp_path / "Dataset400_CDPDNet" / "nnUNetTrainerCDPD__nnUNetCDPDPaperPlans__3d_fullres"
    folder.parent.mkdir()
    folder.symlink_to(model)
    options = [
        "-i",
        files / "images",
        "-o",
        tmp_path / "out",
        "-d",
        "400",
        "-tr",
        "nnUNetTrainerCDPD",
        "-c",
        "3d_fullres",
        "-f",
        "all",
    ]
    options += ["-p", "nnUNetCDPDPaperPlans", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_progress_bar"]
    run_stock("predict_entry_point", *options, nnUNet_results=str(tmp_path))
    assert_written_for(files / "images" / "case_0000.nii.gz", tmp_path / "out" / "case.nii.gz")


@pytest.mark.slow
def test_nnunetv2_predict_from_modelfolder_predicts(model, files, tmp_path):
    options = [
        "-i",
        files / "images",
        "-o",
        tmp_path / "out",
        "-m",
        model,
        "-f",
        "all",
        "-device",
        "cpu",
        "-npp",
        "1",
        "-nps",
        "1",
    ]
    run_stock("predict_entry_point_modelfolder", *options)
    assert_written_for(files / "images" / "case_0000.nii.gz", tmp_path / "out" / "case.nii.gz")


def test_command_line_imports_and_tells_what_was_left_out(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nnunetv2_cdpd.cli.main.ensure_linked", lambda: None)
    folder = tmp_path / "Dataset400_CDPDNet" / "nnUNetTrainerCDPD__nnUNetCDPDPaperPlans__3d_fullres"
    monkeypatch.setattr(model_folder, "import_official", _with_tiny_vit(import_official))
    assert main(["import-official", str(files / "cdpdnet.pth"), "--dinov2", str(files / "vit.pth"), "-o", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"DINOv2: {files / 'vit.pth'}" in out and "left out, 1 tensors: a fusion that is built and never run" in out
    assert f"-m {folder} -f all" in out
    assert json.loads((folder / "plans.json").read_text())["dataset_name"] == "Dataset400_CDPDNet"
    assert f"Model card: {folder / 'cdpd_card.md'}" in out
    written = (folder / "cdpd_card.json").read_text()
    assert main(["card", str(folder)]) == 0 and (folder / "cdpd_card.json").read_text() == written


def test_the_folder_has_its_card_when_it_gets_its_name(files, tmp_path):
    """A second call refuses a folder that is there, so it is there as a whole or not at all."""

    def fail(folder):
        assert (folder / "fold_all" / "checkpoint_final.pth").is_file() and not (tmp_path / "model").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_official(files / "cdpdnet.pth", tmp_path / "model", dinov2=files / "vit.pth", **TINY_VIT, finish=fail)
    assert list(tmp_path.iterdir()) == []


def _with_tiny_vit(function):
    return lambda *args, **kwargs: function(*args, **{**kwargs, "vision_kwargs": VISION_KWARGS})


# ---- what can be wrong -----------------------------------------------------------------------------------------------


def refused(files, tmp_path, checkpoint, match, **changes):
    """The import fails with one line that tells it, and leaves nothing behind."""
    arguments = {"dinov2": files / "vit.pth", **TINY_VIT, **changes}
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=match) as error:
        import_official(checkpoint, tmp_path / "model", **arguments)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_missing_file_is_named(files, tmp_path):
    refused(files, tmp_path, tmp_path / "nowhere.pth", "nowhere.pth: no such file; give the released cdpdnet.pth")


def test_truncated_file_is_named(files, tmp_path):
    path = tmp_path / "cut.pth"
    path.write_bytes((files / "cdpdnet.pth").read_bytes()[:20000])
    refused(files, tmp_path, path, "cut.pth: cut off, damaged, or no file of weights; fetch the file again")


@pytest.mark.parametrize("kept", [0, 3, 200, 2000, 20000])
def test_truncated_file_of_torchs_first_format_is_named(kept, files, tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save({"net": {"a": torch.ones(9000)}}, whole, _use_new_zipfile_serialization=False)
    path = tmp_path / "cut.pth"
    path.write_bytes(whole.read_bytes()[:kept])
    refused(files, tmp_path, path, "cut.pth: cut off, damaged, or no file of weights; fetch the file again")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet18", "argument dinov2 resnet18: no ViT of patch tokens that the released network can use"),
        (
            "vit_base_patch14_dinov2.nonsense",
            "argument dinov2 vit_base_patch14_dinov2.nonsense: no such file, and no model of timm",
        ),
    ],
)
def test_another_encoder_than_a_vit_of_timm_is_told(name, told, files, tmp_path):
    refused(files, tmp_path, files / "cdpdnet.pth", told, dinov2=name, vision_kwargs={})


def test_a_full_disk_is_told(files, tmp_path, monkeypatch):
    def full(*args):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    refused(files, tmp_path, files / "cdpdnet.pth", "model: cannot be written .is the disk full..; make room there")


def test_file_that_would_run_code_is_not_executed(files, tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"net": Evil()}, tmp_path / "evil.pth")
    refused(files, tmp_path, tmp_path / "evil.pth", "evil.pth: .*could run code of it")


@pytest.mark.parametrize(
    "content, found",
    [
        ({"model": {}, "epoch": 3}, "found model, epoch"),
        ({"net": {}}, "no network weights under 'net'"),
        (torch.ones(3), "found Tensor"),
    ],
)
def test_foreign_file_is_told_with_what_it_holds(files, tmp_path, content, found):
    torch.save(content, tmp_path / "foreign.pth")
    refused(files, tmp_path, tmp_path / "foreign.pth", f"foreign.pth: .*{found}")


def test_checkpoint_of_another_network_is_told_with_what_is_missing(files, tmp_path):
    torch.save({"net": {"conv.weight": torch.ones(3)}}, tmp_path / "other.pth")
    refused(
        files, tmp_path, tmp_path / "other.pth", r"other.pth: these are not the weights .* missing \(first: organ_embedding\)"
    )


def changed(files, tmp_path, change):
    content = torch.load(files / "cdpdnet.pth", weights_only=True)
    change(content["net"])
    torch.save(content, tmp_path / "changed.pth")
    return tmp_path / "changed.pth"


def test_weights_that_are_no_numbers_are_refused(files, tmp_path):
    path = changed(files, tmp_path, lambda net: net["module.tu.1.weight"].fill_(float("nan")))
    refused(files, tmp_path, path, r"changed.pth: 1 weights hold nan or inf \(first: module.tu.1.weight\)")


def test_weight_of_another_shape_is_named_with_both(files, tmp_path):
    def cut(net):
        net["module.tu.1.weight"] = net["module.tu.1.weight"][..., :1]

    refused(
        files,
        tmp_path,
        changed(files, tmp_path, cut),
        r"changed.pth: 1 weights do not fit .*transpconvs.1.weight, .*, 1\) in the file",
    )


def test_network_of_other_classes_is_refused(files, tmp_path):
    text = {"encoder": "ViT-B-32/openai", "embed_dim": 16, "class_prompts": ["c"] * 5, "modulate": True}
    network = tiny_network(text=text, task={"prompts": ["t"] * 3, "universal": False})
    path = write_checkpoint(tmp_path / "other.pth", network, prefix="")
    refused(files, tmp_path, path, "5 classes and 3 tasks, whose names are not known; the released one has 32 and 11")


def test_vit_of_another_width_is_refused(files, tmp_path):
    other = {"vision_kwargs": {**VISION_KWARGS, "embed_dim": 32}}
    refused(files, tmp_path, files / "cdpdnet.pth", "tokens are 32 wide, .* tokens 24 wide", **other)


def test_no_weights_of_dinov2_tells_the_way_out(files, tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "hub_reachable", lambda: False)
    monkeypatch.setattr(model_folder, "locate_vision_weights", lambda name: None)
    refused(files, tmp_path, files / "cdpdnet.pth", "give a file of them as argument dinov2", dinov2=None)


def test_folder_that_is_there_is_left_alone(files, model):
    with pytest.raises(UserError, match="model: already there; delete it or give another folder"):
        import_official(files / "cdpdnet.pth", model)


def test_folder_that_cannot_be_written_is_named(files, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/model: cannot be written"):
        import_official(files / "cdpdnet.pth", tmp_path / "file" / "model", dinov2=files / "vit.pth", **TINY_VIT)


def test_dinov2_is_a_file_or_a_name_of_timm(files):
    released = "vit_base_patch14_dinov2.lvd142m"
    assert vision_choice(None) == vision_choice(released) == (released, None)
    assert vision_choice(str(files / "vit.pth")) == (released, files / "vit.pth")
    with pytest.raises(UserError, match="argument dinov2 dino.pth: no such file, and no model of timm"):
        vision_choice("dino.pth")


def test_every_class_is_annotated_by_a_task():
    assert set().union(*ANNOTATED_BY_TASK.values()) == set(range(1, 33))
