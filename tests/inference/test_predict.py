"""cdpd predict: every flag, jobs that are interrupted or hold bad cases, and models that travel in a zip."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import model as tiny_model
from builders.prediction import SPACING, digests, predict, read
from builders.replica_files import write_dicom
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from skimage.io import imsave

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.inference import run as job
from nnunetv2_cdpd.inference.outputs import SETTINGS_FILE
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.jobs import written_beside
from nnunetv2_cdpd.volumes.dicom import read_series

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def predicted(images, model, tmp_path_factory):
    return predict(images, tmp_path_factory.mktemp("all") / "out", model, "--stats")


def test_a_label_map_per_image_in_its_geometry(images, predicted):
    for file in images.iterdir():
        image, labels = sitk.ReadImage(str(file)), sitk.ReadImage(str(predicted / file.name.replace("_0000", "")))
        for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(labels, what)() == getattr(image, what)()
        assert sitk.GetArrayFromImage(labels).any()
    for name in ("dataset.json", "plans.json"):
        assert (predicted / name).is_file()


def test_statistics_of_every_case_and_class(predicted):
    found = json.loads((predicted / "statistics.json").read_text())
    assert list(found) == ["case_0", "case_1", "case_2"] and list(found["case_0"]) == list(tiny_model.CLASSES)
    labels = read(predicted / "case_1.nii.gz")
    assert found["case_1"]["spleen"]["voxels"] == (labels == 6).sum()
    assert found["case_1"]["liver"]["volume_ml"] == pytest.approx(np.isin(labels, (1, 2)).sum() * np.prod(SPACING) / 1000)
    assert "mean_HU" in found["case_1"]["spleen"]
    assert (predicted / "statistics.csv").read_text().count("\n") == 1 + 3 * 6


def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one_file_by_file(images, predicted, model, tmp_path, monkeypatch):
    output, export = tmp_path / "out", Predictor.export
    exported = []

    def interrupted(self, *args, **kwargs):
        if len(exported) == 1:
            with written_beside(output / "case_1.nii.gz") as beside:
                beside.write_bytes(b"half of a file")
                raise KeyboardInterrupt
        exported.append(1)
        return export(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "export", interrupted)
        predict(images, output, model, "--stats", "-nps", "0", expect=130)
    assert (output / "case_0.nii.gz").is_file() and not (output / "case_1.nii.gz").exists()
    before = (output / "case_0.nii.gz").stat().st_mtime_ns
    predict(images, output, model, "--stats", "--continue_prediction")
    assert (output / "case_0.nii.gz").stat().st_mtime_ns == before
    assert digests(output) == digests(predicted)


def test_parts_share_the_cases(images, predicted, model, tmp_path):
    output = tmp_path / "out"
    predict(images, output, model, "--stats", "-num_parts", "2", "-part_id", "1")
    assert sorted(file.name for file in output.glob("*.nii.gz")) == ["case_1.nii.gz"]
    predict(images, output, model, "--stats", "--num-parts", "2", "--part-id", "0", "-npp", "0", "-nps", "0")
    assert digests(output) == digests(predicted)


def test_a_bad_case_is_reported_and_the_others_go_on(images, predicted, model, tmp_path, capsys):
    folder = shutil.copytree(images, tmp_path / "images")
    (folder / "bad_0000.nii.gz").write_bytes(b"nothing")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.int16)), str(folder / "time_0000.nii.gz"))
    output = predict(folder, tmp_path / "out", model, "--stats", expect=1)
    errors = capsys.readouterr().err
    assert "error: case 'bad': " in errors and "error: case 'time': " in errors and "Traceback" not in errors
    # The settings also say of which images predictions were asked for.
    found, expected = (digests(folder) for folder in (output, predicted))
    assert found.pop(SETTINGS_FILE) != expected.pop(SETTINGS_FILE) and found == expected


def test_dicom_series_are_predicted_in_their_geometry_and_bad_ones_reported(model, tmp_path, capsys):
    image = np.flip(tiny_model.make_image((14, 21, 18)).T, (0, 1)).astype(np.int16)
    for name in ("whole", "torn", "tilted"):
        tilt = {"ImagePositionPatient": lambda z: [0, 0.5 * z, 2 * z]} if name == "tilted" else {}
        write_dicom(tmp_path / "images" / name, image, np.diag([0.9, 0.8, 2, 1]), **tilt)
    (tmp_path / "images" / "torn" / "1-005.dcm").unlink()
    output = predict(tmp_path / "images", tmp_path / "out", model, expect=1)
    told = capsys.readouterr()
    assert "error: case 'torn': 1 slice missing between" in told.err and "Traceback" not in told.err
    assert f"{tmp_path / 'images' / 'tilted'}: gantry tilt of 14.0 degrees" in told.out
    assert sorted(file.name for file in output.glob("*.nii.gz")) == ["tilted.nii.gz", "whole.nii.gz"]
    for name in ("whole", "tilted"):
        expected = read_series(sorted((tmp_path / "images" / name).iterdir())).image()
        labels = sitk.ReadImage(str(output / f"{name}.nii.gz"))
        assert labels.GetSize() == expected.GetSize() and sitk.GetArrayFromImage(labels).any()
        for what in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(labels, what)(), getattr(expected, what)(), atol=1e-4)
    assert labels.GetSize() == (18, 30, 14)  # 21 rows and the 6.5 mm that the slices are moved by


def test_a_case_that_fails_at_export_is_reported_too(images, model, tmp_path, capsys, monkeypatch):
    write = job._write

    def failing(predictor, prediction, case, outputs):
        if case.identifier == "case_1":
            raise OSError
        write(predictor, prediction, case, outputs)

    monkeypatch.setattr(job, "_write", failing)
    output = predict(images, tmp_path / "out", model, expect=1)
    assert "error: case 'case_1': OSError" in capsys.readouterr().err
    assert sorted(file.name for file in output.glob("*.nii.gz")) == ["case_0.nii.gz", "case_2.nii.gz"]


def test_missing_channels_are_told(tmp_path, capsys):
    model = tiny_model.write_model(tmp_path / "model", channels=2)
    (tmp_path / "images").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(tiny_model.make_image((12, 13, 14))), str(tmp_path / "images" / "a_0000.nii.gz"))
    predict(tmp_path / "images", tmp_path / "out", model, expect=1)
    assert "case 'a': 1 of the model's 2 channels; each is a file, CASE_0000, CASE_0001" in capsys.readouterr().err


def test_a_colour_image_holds_its_channels_and_has_an_area_but_no_volume(tmp_path):
    model = tiny_model.write_model(tmp_path / "model", channels=3, spacing=[1.0, 999.0, 1.0])  # of x, the only slice, y
    changes = {"dataset.json": {"file_ending": ".png"}, "plans.json": {"image_reader_writer": "NaturalImage2DIO"}}
    for name, change in changes.items():
        (model / name).write_text(json.dumps({**json.loads((model / name).read_text()), **change}))
    colours = np.random.default_rng(0).integers(1, 255, (3, 1, 21, 34)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    imsave(tmp_path / "images" / "a_0000.png", colours[:, 0].transpose(1, 2, 0), check_contrast=False)
    output = predict(tmp_path / "images", tmp_path / "out", model, "--stats")
    labels = NaturalImage2DIO().read_seg(str(output / "a.png"))[0][0]
    expected = Predictor.from_folder(model, [0], device="cpu").predict(colours.astype(np.float32), (999, 1, 1)).label_map
    assert np.array_equal(labels, expected) and labels.any()
    found = json.loads((output / "statistics.json").read_text())["a"]
    assert {found[name]["volume_ml"] for name in tiny_model.CLASSES} == {None}
    assert found["spleen"]["voxels"] == (labels == 6).sum()
    assert (output / "statistics.csv").read_text().splitlines()[1].startswith("a,liver,,")


def test_some_of_the_possible_parents_of_a_class_are_not_said_to_hold_it(model):
    predictor = Predictor.from_folder(model, [0], device="cpu")
    for classes, parents in {
        ("right_kidney", "kidney_tumor"): {},
        ("right_kidney", "left_kidney", "kidney_tumor"): {"kidney_tumor": ["right_kidney", "left_kidney"]},
        ("right_kidney", "left_kidney"): {},
    }.items():
        predictor.select(classes)
        assert job.predictions_dataset_json(predictor)["cdpd"]["possible_parents"] == parents


def test_classes_that_were_not_asked_for_and_lie_in_none_that_was_are_named(model):
    predictor = Predictor.from_folder(model, [0], device="cpu")
    predictor.select(("liver", "right_kidney"))  # the liver's tumors are liver, a tumor of either kidney is background
    described = read_annotation(job.predictions_dataset_json(predictor))
    assert described.unasked == ("left_kidney", "kidney_tumor", "spleen")
    predictor.select(None)
    assert not read_annotation(job.predictions_dataset_json(predictor)).unasked


def test_some_classes_are_those_of_the_full_run_and_say_what_their_values_mean(images, predicted, model, tmp_path):
    output = predict(images, tmp_path / "out", model, "--classes", "spleen", "liver", "kidney_tumor")
    for index in range(3):
        full, some = read(predicted / f"case_{index}.nii.gz"), read(output / f"case_{index}.nii.gz")
        assert (np.where(full == 2, 1, np.isin(full, (1, 5, 6)) * full) != some).mean() <= 1e-3
    labels = json.loads((output / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "liver": [1, 1], "kidney_tumor": [5, 5], "spleen": [6, 6]}


def test_one_file_per_class(images, predicted, model, tmp_path):
    output = predict(images / "case_2_0000.nii.gz", tmp_path / "out", model, "--one-file-per-class", "--stats")
    files = {file.name for file in (output / "case_2").iterdir()}
    assert files == {f"{name}.nii.gz" for name in tiny_model.CLASSES} and not (output / "case_2.nii.gz").exists()
    full = read(predicted / "case_2.nii.gz")
    assert np.array_equal(read(output / "case_2" / "liver.nii.gz"), np.isin(full, (1, 2)))
    before = digests(output)
    predict(images / "case_2_0000.nii.gz", output, model, "--one-file-per-class", "--stats")  # once more, over the first
    assert digests(output) == before


def test_probabilities_are_nnunets_files(images, model, tmp_path):
    output = predict(images / "case_1_0000.nii.gz", tmp_path / "out", model, "--save_probabilities")
    image = sitk.ReadImage(str(images / "case_1_0000.nii.gz"))
    with np.load(output / "case_1.npz") as archive:
        probabilities = archive["probabilities"]
    assert probabilities.shape == (6, *image.GetSize()[::-1]) and probabilities.dtype == np.float32
    expected = Predictor.from_folder(model, [0], device="cpu").predict(images / "case_1_0000.nii.gz", probabilities=True)
    np.testing.assert_allclose(probabilities, expected.probabilities)
    properties = pickle.loads((output / "case_1.pkl").read_bytes())
    assert properties["sitk_stuff"]["origin"] == image.GetOrigin()


def test_task_clean_tta_step_size_and_folds(model, tmp_path):
    image = tmp_path / "large.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(tiny_model.make_image((22, 24, 36))), str(image))
    found, settings = {}, {}
    for name, more in {
        "plain": ["--disable_tta"], "task": ["--task", "Kidney"], "clean": ["--clean", "--tta"], "step": ["-step_size", "1"],
        "folds": ["-f", "0", "1"], "windows": ["-windows_per_batch", "2", "--align_windows", "--not_on_device", "--verbose"],
    }.items():  # fmt: skip
        output = predict(image, tmp_path / name, model, *more)
        found[name] = read(output / "large.nii.gz")
        settings[name] = json.loads((output / SETTINGS_FILE).read_text())
    for name in ("clean", "step", "folds"):
        assert not np.array_equal(found[name], found["plain"])
    # windows in batches are the same windows; here they lie at whole slice steps anyway
    assert (found["windows"] != found["plain"]).mean() <= 1e-3
    assert set(np.unique(found["task"])) <= {0, 3, 4, 5} and found["task"].any()
    assert settings["plain"]["tta"] is False and settings["step"]["step_size"] == 1 and settings["windows"]["align_windows"]


def test_resuming_with_other_settings_is_refused(images, model, tmp_path, capsys):
    output = predict(images / "case_0_0000.nii.gz", tmp_path / "out", model)
    predict(images, output, model, "--resume", "--classes", "liver", expect=1)
    assert "cdpd_predict.json: the predictions there were made with other settings (classes); use" in capsys.readouterr().err


def test_resuming_with_other_weights_is_refused_wherever_they_lie(images, tmp_path, capsys):
    """A training that went on, or more folds: files of the same names."""
    image, folder = images / "case_0_0000.nii.gz", tiny_model.write_model(tmp_path / "model", folds=(0,))
    output = predict(image, tmp_path / "out", folder)
    settings = json.loads((output / SETTINGS_FILE).read_text())
    file = folder / "fold_0/checkpoint_final.pth"
    file.touch()
    predict(image, output, folder, "--resume")
    checkpoint = torch.load(file, weights_only=False)
    next(iter(checkpoint["network_weights"].values())).mul_(1.001)
    torch.save(checkpoint, file)
    predict(image, output, folder, "--resume", expect=1)
    assert "made with other settings (weights); use the same ones" in capsys.readouterr().err
    assert json.loads((output / SETTINGS_FILE).read_text()) == settings


@pytest.mark.parametrize(
    "flags, told",
    [
        (["-num_parts", "2", "-part_id", "2"], "-part_id 2 of 2: parts are counted from 0 to 1"),
        (["-nps", "-1"], "-nps -1: give 0 or more"),
        (["-npp", "-2"], "-npp -2: give 0 or more"),
        (["-windows_per_batch", "-1"], "-windows_per_batch -1: give 1 or more"),
        (["-windows_per_batch", "0"], "-windows_per_batch 0: give 1 or more"),
    ],
)
def test_impossible_numbers_are_refused(flags, told, images, model, tmp_path, capsys):
    predict(images, tmp_path / "out", model, *flags, expect=1)
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_model_itself_is_never_overwritten(images, model, capsys):
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert main(["predict", "-i", str(images), "-o", str(model), "-m", str(model), "-device", "cpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert ".json: the prediction would take the place of" in line and line.endswith("use another output folder")
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before


def test_predictions_older_than_their_images_are_kept_and_told(images, model, tmp_path, capsys):
    image, output = tmp_path / "images", tmp_path / "out"
    image.mkdir()
    file = shutil.copy(next(iter(sorted(images.glob("*.nii.gz")))), image)
    predict(image, output, model)
    kept = output / f"{Path(file).name.removesuffix('_0000.nii.gz')}.nii.gz"
    before, predicted = kept.read_bytes(), kept.stat().st_mtime
    capsys.readouterr()
    os.utime(file, (predicted - 5, predicted - 5))
    predict(image, output, model, "--resume")
    assert "newer" not in "".join(capsys.readouterr())
    os.utime(file, (predicted + 5, predicted + 5))
    predict(image, output, model, "--resume")
    told = "".join(capsys.readouterr())
    assert f"note: images newer than their predictions, which are kept: {kept.name.removesuffix('.nii.gz')}; " in told
    assert kept.read_bytes() == before


def test_only_a_cascade_takes_a_lower_stage(images, model, tmp_path, capsys):
    predict(images, tmp_path / "out", model, "-prev_stage_predictions", str(images), expect=1)
    assert "-prev_stage_predictions: this model is no cascade" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cascade_needs_the_lower_stage(images, model, tmp_path, capsys, monkeypatch):
    configuration = type(Predictor.from_folder(model, [0], device="cpu").configuration_manager)
    monkeypatch.setattr(configuration, "previous_stage_name", "3d_lowres")
    monkeypatch.setattr("nnunetv2_cdpd.inference.models.determine_num_input_channels", lambda *_: 1)
    predict(images, tmp_path / "out", model, expect=1)
    assert "this model is a cascade; give the predictions of 3d_lowres" in capsys.readouterr().err
    predict(images, tmp_path / "out", model, "-prev_stage_predictions", tmp_path, expect=1)
    assert "case_0.nii.gz: missing; predict 3d_lowres first" in capsys.readouterr().err


def test_a_model_zip_predicts_elsewhere_the_same(images, predicted, model, tmp_path, nnunet_folders, monkeypatch, capsys):
    """nnU-Net's own functions of the two commands; the other machine has neither raw nor preprocessed data."""
    from nnunetv2.model_sharing.model_export import export_pretrained_model
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    name = f"{tiny_model.TRAINER}__{tiny_model.PLANS}__{tiny_model.CONFIGURATION}"
    trained = shutil.copytree(model, nnunet_folders.results / "Dataset850_Tiny" / name)
    (trained / "fold_0" / "validation").mkdir()
    (trained / "fold_0" / "progress.png").write_bytes(b"")
    (trained / "fold_0" / "validation" / "summary.json").write_text("{}")
    archive = tmp_path / "model.zip"
    export_pretrained_model(
        850, str(archive), (tiny_model.CONFIGURATION,), tiny_model.TRAINER, tiny_model.PLANS, (0,), strict=True
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("nnUNet_results", str(elsewhere))
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.delenv("nnUNet_preprocessed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    install_model_from_zip_file(str(archive))
    output = tmp_path / "out"
    flags = ["-device", "cpu", "-p", tiny_model.PLANS, "--disable_progress_bar"]
    assert main(["predict", "-i", str(images), "-o", str(output), "-d", "850", *flags]) == 0
    for index in range(3):
        assert (output / f"case_{index}.nii.gz").read_bytes() == (predicted / f"case_{index}.nii.gz").read_bytes()
    assert main(["predict", "-i", str(images), "-o", str(output), "-d", "850", "-device", "cpu"]) == 1
    assert f"nnUNetCDPDPlans__3d_fullres: no such model; trained are {name}" in capsys.readouterr().err
    assert main(["predict", "-i", str(images), "-o", str(output), "-d", "851", "-device", "cpu"]) == 1
    assert "dataset 851: none of this id or name" in capsys.readouterr().err


def test_a_model_that_was_never_trained_is_told(tmp_path, nnunet_folders, capsys):
    (nnunet_folders.raw / "Dataset850_Tiny").mkdir()
    assert main(["predict", "-i", str(tmp_path), "-o", str(tmp_path), "-d", "850"]) == 1
    assert "no such model; nothing is trained there" in capsys.readouterr().err
