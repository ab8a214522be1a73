"""What is handed on to nnU-Net's commands is looked at first: one line in place of their tracebacks."""

import json
import shutil

import blosc2
import numpy as np
import pytest
import torch
from builders import model as tiny_model

from nnunetv2_cdpd.cli.host_checks import check_trained, check_training_inputs
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError

DATASET = "Dataset850_Tiny"
MODEL = f"{tiny_model.TRAINER}__{tiny_model.PLANS}__{tiny_model.CONFIGURATION}"


@pytest.fixture
def folders(nnunet_folders):
    """A dataset, raw and preprocessed with plans, without a fingerprint."""
    for place in (nnunet_folders.raw, nnunet_folders.preprocessed):
        (place / DATASET).mkdir(parents=True)
        (place / DATASET / "dataset.json").write_text(json.dumps(tiny_model.make_dataset_json()))
    (nnunet_folders.preprocessed / DATASET / f"{tiny_model.PLANS}.json").write_text(json.dumps(tiny_model.make_plans()))
    return nnunet_folders


def told(capsys, *arguments):
    """The one line of a command that refuses."""
    assert main([*arguments]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("cdpd: error: ") and output.err.count("\n") == 1
    return output.err


TRAINING = ("train", "850", "3d_fullres", "0", "-device", "cpu", "-p", tiny_model.PLANS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "999", *TRAINING[2:]), "dataset 999: none of this id or name in nnU-Net's folders; give one of these: D"),
        (("train", "Dataset999_X", *TRAINING[2:]), "dataset Dataset999_X: none of this id or name"),
        ((*TRAINING[:3], "x", *TRAINING[4:]), "fold x: give a number, 0 ... 4, or all"),
        ((*TRAINING[:2], "2d", *TRAINING[3:]), "no configuration 2d; give one of 3d_fullres"),
        (TRAINING[:-2], "nnUNetCDPDPlans.json: no such file; -p chooses one of nnUNetTinyPlans, or plan anew: nnUNetv2_plan_"),
        ((*TRAINING, "-device", "tpu"), "-device tpu: give one of cuda, cpu, mps"),
        ((*TRAINING, "--c", "--val"), "--c and --val exclude each other"),
        ((*TRAINING, "--val"), "fold_0/checkpoint_final.pth: no such file, so there is nothing to validate"),
        ((*TRAINING, "-pretrained_weights", "nowhere.pth"), "nowhere.pth: no such file; give a checkpoint"),
        (("plan",), "cdpd plan takes -d DATASET_ID"),
        (("plan", "-d", "999"), "dataset 999: none of this id or name"),
        (("plan", "-d", "x"), "-d x: nnU-Net takes the ids of datasets"),
        (("plan", "-d", "850"), "no dataset_fingerprint.json; make it: nnUNetv2_extract_fingerprint -d 850"),
        (("find-best", "999"), "dataset 999: none of this id or name"),
        (("find-best", "850", "-p", "No"), "No.json: no such file; -p chooses one of nnUNetTinyPlans"),
        (("find-best", "850", "-p", tiny_model.PLANS), f"{MODEL}: not trained; train it"),
        (("accumulate", "999", "-c", "3d_fullres"), "dataset 999: none of this id or name"),
        (("accumulate", "850", "-c", "3d_fullres", "-p", tiny_model.PLANS), f"{MODEL}: not trained; train it"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_a_way_out(folders, arguments, message, capsys):
    assert message in told(capsys, *arguments)


def test_a_planner_that_there_is_not_is_told_with_ours(folders, capsys):
    (folders.preprocessed / DATASET / "dataset_fingerprint.json").write_text("{}")
    assert "-pl Nobody: there is no such planner; ours are nnUNetPlannerCDPD, " in told(
        capsys, "plan", "-d", "850", "-pl", "Nobody"
    )


def test_a_training_without_a_gpu_names_the_way_out(folders, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda number: None)  # may be set once in a process
    arguments = ["cuda" if word == "cpu" else word for word in TRAINING]
    assert "-device cuda: this PyTorch finds no GPU here; give -device cpu" in told(capsys, *arguments)


def test_plans_of_a_training_run_no_code(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stranger.py").write_text("open('ran', 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    plans = tiny_model.make_plans()
    plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "stranger.Network"
    (folders.preprocessed / DATASET / f"{tiny_model.PLANS}.json").write_text(json.dumps(plans))
    assert "architecture: network_class_name` names 'stranger.Network', no network of " in told(capsys, *TRAINING)
    assert not (tmp_path / "ran").exists()


def test_a_fold_without_validation_is_named(folders, capsys):
    tiny_model.write_model(folders.results / DATASET / MODEL, folds=(0, 1))
    (folders.results / DATASET / MODEL / "fold_1" / "validation").mkdir()
    arguments = ("find-best", "850", "-p", tiny_model.PLANS, "-f", "0", "1")
    assert f"{MODEL}: no validation of fold 0; train them to the end, or give -f 1" in told(capsys, *arguments)
    plans = tiny_model.make_plans() | {"image_reader_writer": "os.system"}
    (folders.results / DATASET / MODEL / "plans.json").write_text(json.dumps(plans))
    assert "plans.json: `image_reader_writer` names 'os.system', no reader of images" in told(capsys, *arguments)
    shutil.rmtree(folders.results / DATASET / MODEL)


def test_a_case_that_two_folds_predicted_is_told(folders, capsys):
    model = tiny_model.write_model(folders.results / DATASET / MODEL, folds=(0, 1))
    for fold in (0, 1):
        (model / f"fold_{fold}" / "validation").mkdir()
        (model / f"fold_{fold}" / "validation" / f"case_{fold}.nii.gz").touch()
    twice = ("accumulate", "850", "-c", "3d_fullres", "-p", tiny_model.PLANS, "-f", "0", "1", "0")
    assert f"{MODEL}: fold 0 and fold 0 both predicted case 'case_0'" in told(capsys, *twice)
    (model / "fold_1" / "validation" / "case_0.nii.gz").touch()
    found = told(capsys, *twice[:-1])
    assert "fold 0 and fold 1 both predicted case 'case_0', of which there may be one only; give each fold" in found
    shutil.rmtree(model)


def test_a_model_that_cannot_be_written_to_is_told_before_the_work(folders, capsys, monkeypatch):
    model = tiny_model.write_model(folders.results / DATASET / MODEL)
    (model / "fold_0" / "validation").mkdir()
    monkeypatch.setattr("nnunetv2_cdpd.cli.host_checks.os.access", lambda path, mode: path != model)
    arguments = ("accumulate", "850", "-c", "3d_fullres", "-p", tiny_model.PLANS, "-f", "0")
    assert f"{model}: cannot be written to, where results go; make it writable" in told(capsys, *arguments)
    shutil.rmtree(model)


def test_help_is_left_to_nnunet(folders):
    check_trained(["850", "--help"], tiny_model.TRAINER, ("3d_fullres",))
    check_trained([], tiny_model.TRAINER, ("3d_fullres",))


# ---- preprocessed cases and folds ------------------------------------------------------------------------------------


def read_inputs(fold=0):
    check_training_inputs("850", "3d_fullres", fold, tiny_model.PLANS, tiny_model.TRAINER, None, False)


@pytest.fixture
def preprocessed(folders):
    """Folder of six preprocessed cases, a to f."""
    folder = folders.preprocessed / DATASET / tiny_model.make_plans()["configurations"]["3d_fullres"]["data_identifier"]
    folder.mkdir()
    for case in "abcdef":
        (folder / f"{case}.pkl").touch()
        for name in (case, f"{case}_seg"):
            blosc2.asarray(np.ones((1, 4, 5, 6), np.float32), urlpath=str(folder / f"{name}.b2nd"))
    return folder


def test_a_trainer_that_there_is_not_is_told(preprocessed, capsys):
    assert "-tr moon: nnU-Net finds no such trainer" in told(capsys, *TRAINING, "-tr", "moon")


def torn(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda folder: torn(folder / "c.b2nd"),
            "missing or damaged: c.b2nd; make them anew: nnUNetv2_preprocess -d 850 -plans_n",
        ),
        (lambda folder: (folder / "d_seg.b2nd").unlink(), "missing or damaged: d_seg.b2nd; make them anew"),
        (lambda folder: (folder / ".DS_Store").touch(), ".DS_Store: nnU-Net goes on with nothing but preprocessed cases here"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no preprocessed case here; make them: nnUNetv2_preproc"),
        (
            lambda folder: [path.unlink() for case in "cd" for path in folder.glob(f"{case}*")],
            "4 cases, of which nnU-Net makes no",
        ),
    ],
)
def test_preprocessed_cases_are_whole(spoil, words, preprocessed):
    read_inputs()
    spoil(preprocessed)
    with pytest.raises(UserError) as caught:
        read_inputs()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("[{", "splits_final.json: cannot be read as JSON"),
        ("5", "splits_final.json: "),
        ('[{"train": [], "val": ["a"]}]', "delete it, and nnU-Net makes new folds"),
        ('[{"train": ["a"], "val": []}]', "delete it, and nnU-Net makes new folds"),
        (
            '[{"train": ["a", "y"], "val": ["z"]}]',
            "fold 0 has cases that are not preprocessed: y, z; preprocess them, or delete it",
        ),
    ],
)
def test_folds_are_of_preprocessed_cases(splits, words, preprocessed):
    path = preprocessed.parent / "splits_final.json"
    path.write_text('[{"train": ["a", "b"], "val": ["c"]}]')
    read_inputs()
    path.write_text(splits)
    with pytest.raises(UserError) as caught:
        read_inputs()
    assert words in str(caught.value) and "\n" not in str(caught.value)
    read_inputs("all")
