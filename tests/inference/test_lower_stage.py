"""The lower stage of a cascade: its classes are the model's, and a resumed job has the same one."""

import json
import os

import numpy as np
import pytest
import SimpleITK as sitk
from builders import model as tiny_model
from builders.prediction import digests, predict, read

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.lower_stage import LowerStage

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = tiny_model.make_dataset_json()["labels"]
STOCK = {"background": 0, **dict(zip(tiny_model.CLASSES, tiny_model.ANNOTATION.values))}
ORDER = list(tiny_model.ANNOTATION.values)


def lower_stage(folder, labels=None, settings=None, regions_class_order=ORDER):
    """The lower stage of a folder with a dataset.json of these labels and a cdpd_predict.json, where they are given."""
    folder.mkdir(exist_ok=True)
    if labels is not None:
        content = {"labels": labels, "regions_class_order": regions_class_order, "file_ending": ".nii.gz"}
        (folder / "dataset.json").write_text(json.dumps(content))
    if settings is not None:
        (folder / "cdpd_predict.json").write_text(json.dumps(settings))
    return LowerStage.of(folder, "3d_lowres", tiny_model.ANNOTATION)


# ---- its classes ---------------------------------------------------------------------------------------------------


def test_what_nnunet_itself_predicted_is_accepted(tmp_path):
    """It copies the dataset.json of the lower stage's model, which a stock trainer leaves as it was written."""
    assert lower_stage(tmp_path, LABELS).note is None
    assert lower_stage(tmp_path, STOCK).note is None
    assert lower_stage(tmp_path, {**dict(reversed(STOCK.items())), "ignore": 7}).note is None
    model = tiny_model.make_dataset_json()
    (tmp_path / "dataset.json").write_text(json.dumps({**model, "numTraining": 9}))
    assert LowerStage.of(tmp_path, "3d_lowres", read_annotation(model)).made_by is None


@pytest.mark.parametrize(
    "labels, told",
    [
        ({**STOCK, "liver": 6, "spleen": 1}, "liver is 6, not 1, spleen is 1, not 6"),
        ({"background": 0, "liver": 1}, "no liver_tumor, right_kidney, left_kidney and 2 more"),
        ({**STOCK, "heart": 7}, "heart in addition"),
        ({"background": 0, "vessel": 2, "liver": 3}, "no liver_tumor, .*; vessel in addition; liver is 3, not 1"),
    ],
)
def test_label_maps_of_other_classes_or_values_are_refused(labels, told, tmp_path):
    way_out = "predict 3d_lowres by a model of the same dataset, or give another folder as argument previous_stage"
    with pytest.raises(UserError, match=rf"dataset.json: these predictions are of other .* \({told}\); {way_out}"):
        lower_stage(tmp_path, labels)


def test_values_of_regions_are_those_that_are_written(tmp_path):
    regions = {"background": 0, "liver": [1, 2], **{name: value for name, value in STOCK.items() if value > 1}}
    assert lower_stage(tmp_path, regions).note is None
    with pytest.raises(UserError, match=r"liver is 2, not 1, liver_tumor is 1, not 2\)"):
        lower_stage(tmp_path, {**regions, "liver_tumor": 1}, regions_class_order=[2, 1, *ORDER[2:]])


@pytest.mark.parametrize("labels", [None, {"background": 0, "liver": 1}])
@pytest.mark.parametrize("settings, flags", [({"classes": ["liver"]}, "classes"), ({"task": "Liver", "classes": None}, "task")])
def test_label_maps_of_chosen_classes_are_refused(labels, settings, flags, tmp_path):
    told = rf"cdpd_predict.json: these predictions are of chosen classes only \(argument {flags}\).* without argument {flags}, "
    with pytest.raises(UserError, match=told):
        lower_stage(tmp_path, labels, settings)


def test_all_classes_by_name_are_all_classes(tmp_path):
    assert lower_stage(tmp_path, LABELS, {"classes": list(tiny_model.CLASSES)}).note is None


def test_label_maps_without_a_dataset_json_are_accepted_with_a_note(tmp_path):
    note = f"note: {tmp_path}: no dataset.json that tells what the values are, which are taken for those of this model"
    assert lower_stage(tmp_path).note == note
    assert lower_stage(tmp_path, None, {"classes": None}).note == note


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        LowerStage.of(tmp_path / "nowhere", "3d_lowres", tiny_model.ANNOTATION)
    with pytest.raises(UserError, match=r"dataset.json: `labels` missing"):
        (tmp_path / "dataset.json").write_text("{}")
        lower_stage(tmp_path)
    with pytest.raises(UserError, match=r"cdpd_predict.json: .*predict 3d_lowres again, into another folder"):
        lower_stage(tmp_path, LABELS, [])


# ---- a job ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("cascade") / "model", previous_stage="3d_lowres")


@pytest.fixture(scope="module")
def lower(images, model, tmp_path_factory):
    return predict(images, tmp_path_factory.mktemp("lower") / "out", model)


@pytest.fixture(scope="module")
def predicted(images, cascade, lower, tmp_path_factory):
    return predict(images, tmp_path_factory.mktemp("upper") / "out", cascade, "-prev_stage_predictions", lower)


def copied(folder, target, settings=None):
    """A copy of predictions, whose cdpd_predict.json has further settings."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    if settings is not None:
        path = target / "cdpd_predict.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return target


def test_a_cascade_reads_its_lower_stage(images, cascade, lower, predicted, tmp_path):
    empty = copied(lower, tmp_path / "empty")
    for file in empty.glob("*.nii.gz"):
        picture = sitk.ReadImage(str(file))
        sitk.WriteImage(picture * 0, str(file))
    without = predict(images, tmp_path / "out", cascade, "-prev_stage_predictions", empty)
    assert any(np.any(read(predicted / file.name) != read(file)) for file in without.glob("*.nii.gz"))


@pytest.mark.parametrize("flags", [("--classes", "liver"), ("--task", "Liver")])
def test_a_lower_stage_of_chosen_classes_is_refused_before_anything_is_written(flags, images, model, cascade, tmp_path, capsys):
    lower = predict(images, tmp_path / "lower", model, *flags)
    capsys.readouterr()
    predict(images, tmp_path / "out", cascade, "-prev_stage_predictions", lower, expect=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{lower}/cdpd_predict.json: these predictions are of chosen classes only ({flags[0]})" in line
    assert not (tmp_path / "out").exists()


def test_a_resumed_job_has_the_same_lower_stage(images, cascade, lower, predicted, tmp_path, capsys):
    before = digests(predicted)
    others = [
        copied(lower, tmp_path / "copy"),
        copied(lower, tmp_path / "other", {"step_size": 0.9}),
    ]
    for other in others:
        predict(images, predicted, cascade, "-prev_stage_predictions", other, "--resume", expect=1)
        assert "were made with other settings (previous_stage); use the same ones" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(lower)
    for same in (lower, tmp_path / "link"):
        predict(images, predicted, cascade, "-prev_stage_predictions", same, "--resume")
    assert digests(predicted) == before


def test_a_lower_stage_that_was_predicted_otherwise_is_another_one(images, cascade, lower, tmp_path, capsys):
    same_place = copied(lower, tmp_path / "lower")
    output = predict(images, tmp_path / "out", cascade, "-prev_stage_predictions", same_place)
    path = same_place / "cdpd_predict.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "formats": ["nifti", "rtstruct"]}))
    predict(images, output, cascade, "-prev_stage_predictions", same_place, "--resume")
    path.write_text(json.dumps({**settings, "weights": "others"}))
    predict(images, output, cascade, "-prev_stage_predictions", same_place, "--resume", expect=1)
    assert "were made with other settings (previous_stage)" in capsys.readouterr().err


def test_label_maps_of_the_lower_stage_newer_than_the_predictions_are_told(images, cascade, lower, tmp_path, capsys):
    (target := tmp_path / "lower").mkdir()
    for file in lower.glob("*.nii.gz"):
        (target / file.name).write_bytes(file.read_bytes())
    output = predict(images, tmp_path / "out", cascade, "-prev_stage_predictions", target)
    assert f"note: {target}: no dataset.json" in "".join(capsys.readouterr())
    newer = (output / "case_1.nii.gz").stat().st_mtime + 5
    os.utime(target / "case_1.nii.gz", (newer, newer))
    predict(images, output, cascade, "-prev_stage_predictions", target, "--resume")
    told = "note: images, or label maps of 3d_lowres, newer than their predictions, which are kept: case_1; "
    assert told in "".join(capsys.readouterr())
