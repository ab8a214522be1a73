"""The calibration of a model, learned from its validation cases; its page, and its file, refused where it is of others."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.model import PLANS, TRAINER
from builders.prediction import predict, read
from builders.quality import NUM_CASES

from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.datasets.raw import read_dataset
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.evaluation.metrics import case_metrics
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.quality import collect
from nnunetv2_cdpd.quality.calibrate import calibrate_model
from nnunetv2_cdpd.quality.collect import CASES_FOLDER, PathSettings
from nnunetv2_cdpd.quality.files import QUALITY_FILE, quality_model_of, read_quality_model
from nnunetv2_cdpd.quality.fitting import fit_quality
from nnunetv2_cdpd.quality.page import write_calibration_page

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(calibrated, tmp_path):
    """A copy of the calibrated model."""
    return shutil.copytree(calibrated.model, tmp_path / "copy" / calibrated.model.name)


# ---- calibration ---------------------------------------------------------------------------------------------------------


def test_a_calibration_says_what_it_found(calibrated):
    found, path = read_quality_model(calibrated.model)
    assert path == calibrated.model / QUALITY_FILE
    assert found.cases == NUM_CASES and sorted(found.folds) == ["0", "1"]
    assert calibrated.told[0].startswith(f"Quality, {NUM_CASES} validation cases: predicted and true Dice: Spearman 0.")
    assert found.class_cases["liver"] == NUM_CASES and found.class_cases["liver_tumor"] == NUM_CASES // 4
    page = (calibrated.model / "cdpd_quality.html").read_text()
    assert "Reliability of probabilities" in page and page.count("<figure>") == len(found.reliability)


def test_no_case_is_named_in_what_travels_with_the_model(calibrated):
    for name in (QUALITY_FILE, "cdpd_quality.html", "dataset_fingerprint.json"):
        assert "case_0" not in (calibrated.model / name).read_text()


def test_scores_of_the_calibration_are_those_of_the_label_maps(calibrated):
    """Of a case of the source that annotates organs, whose reference is the prediction moved by a voxel."""
    dataset = read_dataset(calibrated.raw / "Dataset850_Tiny")
    record = json.loads((calibrated.model / CASES_FOLDER / "fold_0" / "case_04.json").read_text())
    predictor = Predictor.from_folder(calibrated.model, [0], device="cpu")
    label_map = predictor.predict(dataset.folder / "imagesTr" / "case_04_0000.nii.gz").label_map
    reference = read(dataset.folder / "labelsTr" / "case_04.nii.gz")
    annotation = predictor.annotation
    metrics = case_metrics(
        reference,
        label_map,
        (1, 1, 1),
        reference=annotation,
        source=annotation.source_index("case_04"),
        prediction=annotation,
        tolerance_mm=None,
    )
    scores = record["intact"]["scores"]
    assert scores.keys() == {"liver", "right_kidney", "left_kidney", "spleen"}
    for name, its in scores.items():
        assert its["n_pred"] == metrics[name]["n_pred"] and its["n_ref"] == metrics[name]["n_ref"]
        assert its["dice"] == pytest.approx(metrics[name]["Dice"], nan_ok=True) if its["dice"] is not None else True
    assert record["reference"]["liver"]["volume_ml"] == pytest.approx(np.isin(reference, (1, 2)).sum() * 0.9 * 0.8 * 2 / 1000)


def test_calibration_goes_on_where_it_was_stopped(calibrated, model, monkeypatch):
    before = json.loads((model / QUALITY_FILE).read_text())
    (model / CASES_FOLDER / "fold_1" / "case_03.json").unlink()
    (model / CASES_FOLDER / "fold_1" / "case_05.json").write_text("{")
    edited = model / CASES_FOLDER / "fold_1" / "case_07.json"
    record = json.loads(edited.read_text())
    record["intact"]["scores"]["liver"]["dice"] = 1.0
    edited.write_text(json.dumps(record))
    measured, measure = [], collect._measured
    monkeypatch.setattr(collect, "_measured", lambda *args: measured.append(args[1].case.identifier) or measure(*args))
    dataset = read_dataset(calibrated.raw / "Dataset850_Tiny")
    calibrate_model(model, dataset, [0, 1], device="cpu", progress=False, tell=list)
    assert measured == ["case_03", "case_05", "case_07"]
    assert json.loads((model / QUALITY_FILE).read_text()) == before


@pytest.fixture
def accumulated(calibrated, monkeypatch):
    """`cdpd accumulate` of the calibrated model, without the part that is nnU-Net's own; returns the arguments of that."""
    handed_on = []
    monkeypatch.setenv("nnUNet_raw", str(calibrated.raw))
    monkeypatch.setenv("nnUNet_results", str(calibrated.model.parents[1]))
    monkeypatch.setenv("nnUNet_preprocessed", str(calibrated.raw))
    monkeypatch.setattr("nnunetv2_cdpd.cli.host_checks.check_trained", lambda *args, **options: None)
    monkeypatch.setattr(
        "nnunetv2.evaluation.find_best_configuration.accumulate_crossval_results_entry_point",
        lambda: handed_on.extend(sys.argv[1:]),
    )
    return handed_on


def test_accumulate_calibrates_only_if_it_is_told_to(calibrated, accumulated, capsys):
    path = calibrated.model / QUALITY_FILE
    before = path.read_text(), path.stat().st_mtime_ns
    command = ["accumulate", "850", "-c", "3d_fullres", "-p", PLANS, "-f", "0", "1"]
    assert main(command) == 0 and path.stat().st_mtime_ns == before[1]
    assert main([*command, "--quality", "-device", "cpu"]) == 0
    assert accumulated[: len(command) - 1] == command[1:] and "--quality" not in accumulated and "-device" not in accumulated
    assert path.read_text() == before[0] and path.stat().st_mtime_ns > before[1]
    assert f"written to {path}" in capsys.readouterr().out


def test_flags_of_the_calibration_go_with_it_only(accumulated, capsys):
    assert main(["accumulate", "850", "-c", "3d_fullres", "-step_size", "0.8"]) == 1
    assert "-step_size: is for --quality; give it too" in capsys.readouterr().err


def test_a_bad_validation_case_does_not_stop_the_others(calibrated, model, tmp_path):
    raw = shutil.copytree(calibrated.raw, tmp_path / "raw")
    (raw / "Dataset850_Tiny" / "labelsTr" / "case_02.nii.gz").write_bytes(b"nothing")
    dataset = read_dataset(raw / "Dataset850_Tiny")
    failed = calibrate_model(model, dataset, [0, 1], device="cpu", progress=False, tell=list)
    assert failed.keys() == {"case_02"} and "case_02.nii.gz" in failed["case_02"]
    assert read_quality_model(model)[0].cases == NUM_CASES - 1


def test_where_no_case_can_be_measured_the_reason_is_told(calibrated, model, tmp_path):
    raw = shutil.copytree(calibrated.raw, tmp_path / "raw")
    for label in (raw / "Dataset850_Tiny" / "labelsTr").iterdir():
        label.write_bytes(b"nothing")
    dataset = read_dataset(raw / "Dataset850_Tiny")
    with pytest.raises(
        UserError, match=r"^0 validation cases: too few .* \(10 more could not be measured; case 'case_00': .*case_00"
    ):
        calibrate_model(model, dataset, [0, 1], device="cpu", progress=False)


def test_too_few_cases_and_missing_validations_are_told(calibrated, model):
    dataset = read_dataset(calibrated.raw / "Dataset850_Tiny")
    with pytest.raises(UserError, match="5 validation cases: too few to learn from; 8 or more are needed"):
        calibrate_model(model, dataset, [0], device="cpu", progress=False)
    shutil.rmtree(model / "fold_1" / "validation")
    with pytest.raises(UserError, match=r"fold_1/validation: no predictions of validation cases; run `cdpd train"):
        calibrate_model(model, dataset, [0, 1], device="cpu", progress=False)


def test_nothing_learned_from_nothing(calibrated):
    record = json.loads((calibrated.model / CASES_FOLDER / "fold_0" / "case_04.json").read_text())
    for image in (record["intact"], *record["degraded"].values()):
        for its in image["facts"].values():
            its["shape"] = None
    with pytest.raises(UserError, match="no class is predicted anywhere in the validation cases"):
        fit_quality([record] * 10, ["liver"], {}, PathSettings())


def test_what_cannot_be_written_is_told_before_the_work(calibrated, model, monkeypatch):
    monkeypatch.setattr("nnunetv2_cdpd.quality.calibrate.collect_fold", None)
    dataset = read_dataset(calibrated.raw / "Dataset850_Tiny")
    (model / "cdpd_quality.html").write_text("mine")
    with pytest.raises(UserError, match="cdpd_quality.html: nothing says that this command made it"):
        calibrate_model(model, dataset, [0, 1], device="cpu", progress=False)
    (model / "cdpd_quality.html").unlink()
    (model / "dataset_fingerprint.json").write_text("{")
    with pytest.raises(UserError, match="dataset_fingerprint.json: cannot be read as JSON"):
        calibrate_model(model, dataset, [0, 1], device="cpu", progress=False)


def test_the_page_of_a_calibration_on_flat_images_tells_no_volumes(calibrated, tmp_path):
    model, _ = read_quality_model(calibrated.model)
    assert not model.flat and "volume in ml" in (calibrated.model / "cdpd_quality.html").read_text()
    write_calibration_page(replace(model, flat=True), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "volume in ml" not in page and page.count("<tr>") == len(model.classes) + 1


# ---- its file ------------------------------------------------------------------------------------------------------------


def refusal(folder, folds=(0,), settings=PathSettings(), task=None):
    with pytest.raises(UserError) as error:
        quality_model_of(Predictor.from_folder(folder, folds, device="cpu"), folder, settings, task)
    return str(error.value)


def test_a_calibration_that_is_missing_is_told_with_the_way_out(model, images, tmp_path, capsys):
    (model / QUALITY_FILE).unlink()
    (model / "dataset_fingerprint.json").write_text("{}")
    predict(images, tmp_path / "out", model, "--quality", expect=1)
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"cdpd: error: {model / QUALITY_FILE}: no such file, so nothing is known of the quality")
    assert error.endswith("cdpd accumulate DATASET -c CONFIGURATION --quality") and "\n" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.pop("flags"), "`flags` is missing"),
        (lambda content: content["regression"].update(slopes=[1.0]), "`regression: slopes` is"),
        (lambda content: content["regression"].update(effects=[1.0]), "its numbers do not belong together"),
        (lambda content: content.update(version=99), "a calibration of another release"),
        (lambda content: content.update(classes=["heart"] * 6), "calibrated for the classes heart, heart"),
        (lambda content: content["intervals"].update(width="wide"), "`intervals: width` is 'wide'"),
        (lambda content: content["intervals"].update(width=-1.0), "`intervals: width` is -1.0, not a number from 0"),
        (
            lambda content: content["anatomy"]["liver"].update(log_volume_sd=0),
            "`anatomy: liver: log_volume_sd` is 0, not a number",
        ),
        (lambda content: content["anatomy"]["liver"].update(log_volume=1e9), "`anatomy: liver: log_volume` is 1000000000.0"),
        (lambda content: content["absent"]["usual"].pop("liver"), "its numbers do not belong together"),
    ],
)
def test_a_calibration_that_is_damaged_or_of_other_classes_is_refused(model, change, words):
    content = json.loads((model / QUALITY_FILE).read_text())
    change(content)
    (model / QUALITY_FILE).write_text(json.dumps(content))
    assert words in refusal(model) and "make it anew" in refusal(model)


def test_a_calibration_of_other_networks_is_refused(model):
    checkpoint = torch.load(model / "fold_1" / "checkpoint_final.pth", weights_only=False)
    next(iter(checkpoint["network_weights"].values())).add_(0.1)
    torch.save(checkpoint, model / "fold_1" / "checkpoint_final.pth")
    told = refusal(model, (0, 1))
    assert "is of the networks of folds 0, 1 as they were then; 1 of those that are to predict are others" in told
    assert quality_model_of(Predictor.from_folder(model, [0], device="cpu"), model, PathSettings(), None).cases == NUM_CASES


def test_other_settings_and_tasks_are_refused(calibrated, images, tmp_path, capsys):
    assert "was calibrated with -step_size 0.5, without --disable_tta; predict with the same" in refusal(
        calibrated.model, settings=PathSettings(0.8, tta=False)
    )
    assert "argument task Liver" in refusal(calibrated.model, task="Liver")
    predict(images, tmp_path / "out", calibrated.model, "--quality", "--clean", expect=1)
    assert "was calibrated without --clean" in capsys.readouterr().err
    told = refusal(calibrated.model, settings=PathSettings(place="1"))
    assert "was calibrated with another place.json, or none; predict" in told
    predict(images, tmp_path / "out", calibrated.model, "--quality", "--decode", "dice", expect=1)
    assert "--decode dice: " in capsys.readouterr().err
    predict(images / "clean_0000.nii.gz", tmp_path / "y.nii.gz", calibrated.model, "--quality", expect=1)
    assert "one label map, to which --quality does not go" in capsys.readouterr().err


def test_it_comes_out_of_nnunets_zip(calibrated, nnunet_folders, tmp_path):
    """The file that nnU-Net exports holds it, so a model that was installed from a zip judges as before."""
    from nnunetv2.model_sharing.model_export import export_pretrained_model
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    model = shutil.copytree(calibrated.model, nnunet_folders.results / "Dataset850_Tiny" / calibrated.model.name)
    archive = str(tmp_path / "m.zip")
    export_pretrained_model("Dataset850_Tiny", archive, ("3d_fullres",), TRAINER, PLANS, folds=(0, 1), strict=False)
    before = read_quality_model(model)[0].as_json()
    shutil.rmtree(model)
    install_model_from_zip_file(archive)
    assert not (model / QUALITY_FILE).exists() and not (model / CASES_FOLDER).exists()
    found, path = read_quality_model(model)
    assert path.name == "dataset_fingerprint.json" and found.as_json() == before
