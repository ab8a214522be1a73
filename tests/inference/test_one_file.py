"""One image to one label map, and what a model tells of its classes."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from builders import model as tiny_model
from builders.prediction import predict, read

from nnunetv2_cdpd.cli.main import main

FAST = ("-step_size", "1", "--disable_tta")


@pytest.fixture(scope="module")
def in_folder(model, images, tmp_path_factory):
    return predict(images / "case_1_0000.nii.gz", tmp_path_factory.mktemp("folder") / "out", model, *FAST)


def test_one_image_becomes_one_file_with_nothing_beside_it(model, images, in_folder, tmp_path, capsys):
    output = predict(images / "case_1_0000.nii.gz", tmp_path / "y.nii.gz", model, *FAST)
    assert [file.name for file in tmp_path.iterdir()] == ["y.nii.gz"]
    assert np.array_equal(read(output), read(in_folder / "case_1.nii.gz")) and read(output).max() > 0
    written, image = sitk.ReadImage(str(output)), sitk.ReadImage(str(images / "case_1_0000.nii.gz"))
    assert written.GetOrigin() == pytest.approx(image.GetOrigin()) and written.GetDirection() == pytest.approx(
        image.GetDirection()
    )
    assert f"written to {output}" in capsys.readouterr().out


def test_chosen_classes_keep_their_values(model, images, in_folder, tmp_path):
    output = predict(images / "case_1_0000.nii.gz", tmp_path / "y.mha", model, *FAST, "--classes", "spleen")
    assert set(np.unique(read(output))) <= {0, 6}


def test_a_file_that_is_there_stays(model, images, tmp_path, capsys):
    output = tmp_path / "y.nii.gz"
    output.write_bytes(b"mine")
    predict(images / "case_1_0000.nii.gz", output, model, *FAST, expect=1)
    assert output.read_bytes() == b"mine" and f"{output}: is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("image", "output", "more", "told"),
    [
        ("", "y.nii.gz", (), "3 cases (case_0, case_1, case_2)"),
        ("case_1_0000.nii.gz", "no/y.nii.gz", (), "y.nii.gz: there is no folder"),
        ("case_1_0000.nii.gz", "y.nii.gz", ("--stats",), "to which --stats does not go; give a folder"),
        ("case_1_0000.nii.gz", "y.nii.gz", ("--one-file-per-class",), "to which --one-file-per-class does not go"),
        ("case_1_0000.nii.gz", "y.nii.gz", ("--save_probabilities",), "to which --save_probabilities does not go"),
        ("case_1_0000.nii.gz", "y.nii.gz", ("--c",), "to which --continue_prediction does not go"),
        ("case_1_0000.nii.gz", "y.nii.gz", ("-num_parts", "2"), "cannot be shared among 2 calls"),
    ],
)
def test_what_one_file_cannot_take_is_refused(image, output, more, told, model, images, tmp_path, capsys):
    predict(images / image, tmp_path / output, model, *more, expect=1)
    assert told in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_read_is_one_line_and_leaves_nothing(model, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/torn_0000.nii.gz").write_bytes(b"torn")
    predict(tmp_path / "in/torn_0000.nii.gz", tmp_path / "y.nii.gz", model, *FAST, expect=1)
    out, err = capsys.readouterr()
    assert err.startswith("cdpd: error: case 'torn': ") and "written" not in out and "Traceback" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def test_channels_are_found_beside_the_one_that_is_named(images, tmp_path):
    model = tiny_model.write_model(tmp_path / "model", channels=2)
    (tmp_path / "in").mkdir()
    for channel in range(2):
        shutil.copy(images / "case_0_0000.nii.gz", tmp_path / f"in/x_{channel:04d}.nii.gz")
    output = predict(tmp_path / "in/x_0000.nii.gz", tmp_path / "y.nii.gz", model, *FAST)
    assert read(output).shape == read(images / "case_0_0000.nii.gz").shape


def test_classes_of_a_model_are_told_without_an_image(model, capsys):
    assert main(["predict", "-m", str(model), "--list-classes"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "2 liver_tumor in liver" in lines and "5 kidney_tumor in right_kidney or left_kidney" in lines and "6 spleen" in lines
    assert "sources, for --task, and what each annotates:" in lines
    assert "Organs: liver, right_kidney, left_kidney, spleen" in lines


def test_a_model_without_task_prompts_says_so(model, tmp_path, capsys):
    shutil.copy(model / "dataset.json", tmp_path)
    plans = json.loads((model / "plans.json").read_text())
    for configuration in plans["configurations"].values():
        configuration["architecture"]["arch_kwargs"]["task"] = None
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    assert main(["predict", "-m", str(tmp_path), "--list-classes"]) == 0
    assert "there is no --task" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["-m", "x"], ["-m", "x", "-i", "y"], ["--list-classes"]])
def test_what_is_needed_is_asked_for(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", *argv])
    assert stop.value.code == 2 and "required" in capsys.readouterr().err
