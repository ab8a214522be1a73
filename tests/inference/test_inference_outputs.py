"""Outputs: nothing that is read is overwritten, and no prediction is taken for one of other settings."""

import json

import numpy as np
import pytest
from builders.model import make_image
from builders.prediction import digests, predict, read
from builders.replica_files import write_dicom
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.inputs import Case
from nnunetv2_cdpd.inference.outputs import SETTINGS_FILE, Outputs, prepare_folder
from nnunetv2_cdpd.inference.prediction import Prediction, mask_names
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.jobs import written_beside

pytestmark = pytest.mark.usefixtures("one_thread")

MASKS = {"one_file_per_class": True}
PLANS = {"plans_name": "ours"}
DATASET_JSON = {"labels": {"background": 0, "liver": 1, "spleen": 2}, "file_ending": ".nii.gz"}


def put(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(file.name.encode())
    return files


def prepare(folder, files, *, step=0.5, read=(), resume=False, alone=True, case="scan", series="", is_dicom=False, **flags):
    """For one case and a model of the classes liver and spleen; cases of which predictions were of other images."""
    outputs = Outputs(folder, ".nii.gz", **flags)
    return prepare_folder(
        outputs, [Case(case, tuple(files), is_dicom, series=series)], {"step_size": step}, classes=["liver", "spleen"],
        read=[*files, *read], resume=resume, alone=alone, dataset_json=DATASET_JSON, plans=PLANS,
    )  # fmt: skip


def make_prediction(shape=(4, 5, 6), **properties):
    labels = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8) % 3
    return Prediction(labels, {"liver": 1, "spleen": 2}, {"liver": (1,), "spleen": (2,)}, properties, None)


# ---- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [{}, MASKS])
@pytest.mark.parametrize("resume", [False, True])
def test_an_image_is_never_overwritten(flags, resume, tmp_path):
    files = put(tmp_path / "scan.nii.gz") if not flags else put(tmp_path / "scan" / "1.dcm", tmp_path / "scan" / "a" / "2.dcm")
    before = digests(tmp_path)
    with pytest.raises(UserError, match="the prediction would take the place of .*scan.*; use another output folder"):
        prepare(tmp_path / "nowhere" / "..", files, resume=resume, **flags)
    assert digests(tmp_path) == before


def test_an_image_that_is_a_link_to_itself_stops_no_other(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / "scan.nii.gz")
    prepare(tmp_path / "out", [tmp_path / "scan.nii.gz"])
    assert (tmp_path / "out" / SETTINGS_FILE).is_file()


def test_neither_a_link_nor_what_it_leads_to_is_overwritten(tmp_path):
    put(tmp_path / "data" / "scan.nii.gz")
    (tmp_path / "links").mkdir()
    (link := tmp_path / "links" / "scan.nii.gz").symlink_to(tmp_path / "data" / "scan.nii.gz")
    for folder in ("data", "links"):
        with pytest.raises(UserError, match=f"{folder}/scan.nii.gz: the prediction would take the place of {link}"):
            prepare(tmp_path / folder, [link])


@pytest.mark.parametrize("flags", [{}, MASKS])
def test_a_lower_stage_is_not_overwritten(flags, tmp_path):
    lower = put(tmp_path / "lower" / "scan.nii.gz", tmp_path / "lower" / "dataset.json")
    with pytest.raises(UserError, match="the prediction would take the place of .*lower/"):
        prepare(tmp_path / "lower", put(tmp_path / "scan_0000.nii.gz"), read=lower, **flags)


@pytest.mark.parametrize("content", ['{"labels": {"kidney": 1}}', "{"])
def test_a_raw_dataset_or_a_model_keeps_its_dataset_json(content, tmp_path):
    out, files = tmp_path / "Dataset001_X", put(tmp_path / "in" / "scan.nii.gz")
    out.mkdir()
    (out / "dataset.json").write_text(content)
    with pytest.raises(UserError, match="dataset.json: describes something else than these predictions"):
        prepare(out, files)
    assert (out / "dataset.json").read_text() == content
    (out / "dataset.json").write_text(json.dumps(DATASET_JSON))  # as nnUNetv2_predict leaves it
    prepare(out, files)


def test_the_command_leaves_images_alone(model, images, tmp_path, capsys):
    write_dicom(tmp_path / "dcm" / "p1", np.flip(make_image((14, 21, 18)).T, (0, 1)).astype(np.int16), np.diag([0.9, 0.8, 2, 1]))
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "case.nii.gz").write_bytes((images / "case_0_0000.nii.gz").read_bytes())
    before = digests(tmp_path)
    predict(tmp_path / "scan", tmp_path / "scan", model, expect=1)
    predict(tmp_path / "dcm", tmp_path / "dcm", model, "--one-file-per-class", expect=1)
    told = capsys.readouterr().err
    assert told.count("the prediction would take the place of") == 2 and "Traceback" not in told
    assert digests(tmp_path) == before


# ---- what is there already -----------------------------------------------------------------------------------------


def test_only_a_folder_of_masks_is_replaced(tmp_path):
    prepare(tmp_path, [], **MASKS)
    put(tmp_path / "scan" / "liver.nii.gz")
    prepare(tmp_path, [], **MASKS)
    put(tmp_path / "scan" / "notes.txt")
    for flags in (MASKS, MASKS | {"step": 0.7}):
        with pytest.raises(UserError, match="scan/notes.txt: no mask of this model, so its folder is not replaced; move it away"):
            prepare(tmp_path, [], **flags)
    assert sorted(digests(tmp_path / "scan")) == ["liver.nii.gz", "notes.txt"]


def test_masks_replace_masks_and_nothing_else(tmp_path):
    prediction = make_prediction(spacing=[3.0, 1.0, 2.0])
    for _ in range(2):
        prediction.write_masks(tmp_path / "scan", ".tif", Tiff3DIO())
    assert sorted(digests(tmp_path)) == [f"scan/{name}" for name in ("liver.json", "liver.tif", "spleen.json", "spleen.tif")]
    put(tmp_path / "scan" / "slice.dcm")
    with pytest.raises(UserError, match="scan/slice.dcm: no mask of this model"):
        prediction.write_masks(tmp_path / "scan", ".tif", Tiff3DIO())
    assert len(digests(tmp_path)) == 5


@pytest.mark.parametrize("resume", [False, True])
def test_predictions_of_unknown_origin_are_neither_kept_nor_replaced(resume, tmp_path):
    before = (put(tmp_path / "scan.nii.gz"), digests(tmp_path))[1]
    with pytest.raises(
        UserError,
        match="scan.nii.gz: nothing says that this command made it; .*use another folder, or move it away .no cdpd_predict.json",
    ):
        prepare(tmp_path, [], resume=resume)
    assert digests(tmp_path) == before
    prepare(tmp_path / "other", [], resume=resume)  # an empty folder may be resumed


def test_the_plans_of_something_else_stay(tmp_path):
    (tmp_path / "plans.json").write_text(json.dumps({"plans_name": "theirs"}))
    with pytest.raises(UserError, match="plans.json: describes something else than these predictions; use another folder"):
        prepare(tmp_path, [])
    assert sorted(digests(tmp_path)) == ["plans.json"]
    (tmp_path / "plans.json").write_text(json.dumps(PLANS))
    prepare(tmp_path, [])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"of": "somebody"}'])
def test_damaged_settings_are_told(content, tmp_path):
    tmp_path.joinpath(SETTINGS_FILE).write_bytes(content)
    for resume in (True, False):
        with pytest.raises(UserError, match="cdpd_predict.json: cannot be read as JSON .*; delete it together with the predict"):
            prepare(tmp_path, [], resume=resume)


def test_predictions_of_other_settings_go_and_those_of_the_same_stay(tmp_path):
    flags = {"probabilities": True, "statistics": True, **MASKS}
    prepare(tmp_path, [], **flags)
    names = ("scan/liver.nii.gz", "scan.npz", "scan.pkl", "statistics/scan.json", "statistics.json", "statistics.csv")
    own = put(*(tmp_path / name for name in names))
    others = put(tmp_path / "other.nii.gz", tmp_path / "statistics" / "other.json")
    prepare(tmp_path, [], **flags)
    assert all(file.is_file() for file in own)
    with pytest.raises(UserError, match="were made with other settings .step_size.; use the same ones, or another folder"):
        prepare(tmp_path, [], step=0.7, alone=False, **flags)  # they may be those of a job that runs
    assert all(file.is_file() for file in own)
    prepare(tmp_path, [])
    assert not any(file.exists() for file in own) and not (tmp_path / "scan").exists()
    assert all(file.is_file() for file in others)


def test_an_interrupted_run_of_other_classes_leaves_none_of_the_former_ones(images, model, tmp_path, monkeypatch):
    output, export, exported = predict(images, tmp_path / "out", model), Predictor.export, []

    def interrupted(self, *args, **kwargs):
        if exported:
            raise KeyboardInterrupt
        exported.append(1)
        return export(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "export", interrupted)
        predict(images, output, model, "--classes", "spleen", "-nps", "0", expect=130)
    predict(images, output, model, "--classes", "spleen", "--resume")
    for index in range(3):
        assert set(np.unique(read(output / f"case_{index}.nii.gz"))) == {0, 6}
    assert list(json.loads((output / "dataset.json").read_text())["labels"]) == ["background", "spleen"]


def test_an_old_prediction_of_another_case_is_made_again_by_a_job_that_has_the_case(images, model, tmp_path):
    """A and B, A again with other settings, both resumed: B is of the new settings too."""
    output, one = tmp_path / "out", tmp_path / "one"
    one.mkdir()
    (one / "case_0_0000.nii.gz").write_bytes((images / "case_0_0000.nii.gz").read_bytes())
    predict(images, output, model)
    old = digests(output)
    predict(one, output, model, "-step_size", "1")
    assert digests(output)["case_1.nii.gz"] == old["case_1.nii.gz"]
    settings = json.loads((output / SETTINGS_FILE).read_text())
    assert settings["step_size"] == 1 and settings["made_otherwise"] == ["case_1", "case_2"]
    mine = (output / "case_0.nii.gz").stat().st_mtime_ns
    predict(images, output, model, "-step_size", "1", "--resume")
    reference = digests(predict(images, tmp_path / "reference", model, "-step_size", "1"))
    found = digests(output)
    assert all(found[f"case_{index}.nii.gz"] == reference[f"case_{index}.nii.gz"] for index in range(3))
    assert (output / "case_0.nii.gz").stat().st_mtime_ns == mine and "made_otherwise" not in (output / SETTINGS_FILE).read_text()


@pytest.mark.parametrize("change", ["name", "size", "content", "series"])
@pytest.mark.parametrize("resume", [False, True])
def test_the_prediction_of_another_image_is_none_of_this_one(tmp_path, change, resume):
    output, (image,) = tmp_path / "out", put(tmp_path / "scan_0000.nii.gz")
    dicom = change == "series"
    assert prepare(output, [image], series="1.2", is_dicom=dicom) == []
    (predicted, other) = put(output / "scan.nii.gz", output / "other.nii.gz")
    assert prepare(output, [image], series="1.2", is_dicom=dicom, resume=resume) == [] and predicted.exists()
    if change == "name":
        (image,) = put(tmp_path / "scan_0001.nii.gz")
    elif change == "size":
        image.write_bytes(b"another")
    elif change == "content":
        image.write_bytes(image.read_bytes()[::-1])
    series = "1.3" if change == "series" else "1.2"
    with pytest.raises(UserError, match="the predictions of scan there were made with other settings, or of other images"):
        prepare(output, [image], series=series, is_dicom=dicom, resume=resume, alone=False)
    assert predicted.exists()
    assert prepare(output, [image], series=series, is_dicom=dicom, resume=resume) == ["scan"]
    assert not predicted.exists() and other.exists()


def test_a_folder_of_before_images_were_told_is_resumed(tmp_path):
    output, (image,) = tmp_path / "out", put(tmp_path / "scan_0000.nii.gz")
    prepare(output, [image])
    settings = json.loads((output / SETTINGS_FILE).read_text())
    (output / SETTINGS_FILE).write_text(json.dumps({key: value for key, value in settings.items() if key != "images"}))
    put(output / "scan.nii.gz")
    assert prepare(output, [image], resume=True) == [] and (output / "scan.nii.gz").exists()


def test_cases_of_other_settings_are_known_until_a_job_makes_them_again(tmp_path):
    def others():
        return json.loads((tmp_path / SETTINGS_FILE).read_text()).get("made_otherwise")

    prepare(tmp_path, [])
    put(tmp_path / "scan.nii.gz", tmp_path / "other.nii.gz", tmp_path / "third.nii.gz")
    prepare(tmp_path, [], step=0.7)
    assert others() == ["other", "third"] and not (tmp_path / "scan.nii.gz").exists()
    put(tmp_path / "scan.nii.gz")
    prepare(tmp_path, [], step=0.7, resume=True)  # nothing is forgotten, and what is right stays
    assert others() == ["other", "third"] and (tmp_path / "scan.nii.gz").exists()
    with pytest.raises(UserError, match="predictions of other there were made with other settings, or of other images; predict"):
        prepare(tmp_path, [], step=0.7, resume=True, alone=False, case="other")
    prepare(tmp_path, [], step=0.7, resume=True, case="other")
    assert others() == ["third"] and not (tmp_path / "other.nii.gz").exists() and (tmp_path / "scan.nii.gz").exists()
    prepare(tmp_path, [], step=0.5)  # the third's own settings again, which nobody remembers
    assert others() == ["third"] and not (tmp_path / "scan.nii.gz").exists()


def test_a_folder_does_not_describe_old_predictions_by_a_new_dataset_json(tmp_path):
    prepare(tmp_path, [])
    put(tmp_path / "scan.nii.gz", tmp_path / "other.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({**DATASET_JSON, "labels": {"background": 0, "liver": 1}}))
    before = digests(tmp_path)
    with pytest.raises(
        UserError, match="dataset.json: also describes the predictions of other, .*(step_size).*predict these cases"
    ):
        prepare(tmp_path, [], step=0.7)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("damage", [5, [5], {"a": 1}, None])
def test_a_damaged_note_of_other_settings_is_none(damage, tmp_path):
    prepare(tmp_path, [])
    settings = json.loads((tmp_path / SETTINGS_FILE).read_text())
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({**settings, "made_otherwise": damage}))
    prepare(tmp_path, [], resume=True)
    assert json.loads((tmp_path / SETTINGS_FILE).read_text()) == settings


# ---- files ---------------------------------------------------------------------------------------------------------


def test_a_tiff_keeps_the_spacing_that_is_written_beside_it(tmp_path):
    prediction = make_prediction(spacing=[3.0, 1.0, 2.0])
    prediction.write_label_map(tmp_path / "scan.tif", Tiff3DIO())
    labels, properties = Tiff3DIO().read_seg(str(tmp_path / "scan.tif"))
    assert np.array_equal(labels[0], prediction.label_map) and list(properties["spacing"]) == [3.0, 1.0, 2.0]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scan.json", "scan.tif"]


def test_a_failed_write_leaves_the_former_file_and_nothing_else(tmp_path):
    put(tmp_path / "scan.nii.gz")
    with pytest.raises(KeyError):
        make_prediction().write_label_map(tmp_path / "scan.nii.gz", SimpleITKIO())
    with pytest.raises(ValueError, match="half"), written_beside(tmp_path / "scan.nii.gz") as beside:
        put(beside)
        raise ValueError("half")
    assert sorted(digests(tmp_path)) == ["scan.nii.gz"] and len(list(tmp_path.iterdir())) == 1


# ---- names of masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes, files",
    [
        (["right kidney", "right_kidney"], ["right_kidney_2", "right_kidney"]),
        (["a/b", "a:b", "a*b"], ["a_b", "a_b_2", "a_b_3"]),
        (["Liver", "liver", "LIVER"], ["Liver", "liver_2", "LIVER_3"]),
        (["a b", "a_b", "a_b_2"], ["a_b_3", "a_b", "a_b_2"]),
        (["stra\u00dfe", "STRASSE"], ["stra\u00dfe", "STRASSE_2"]),
        (["caf\u00e9", "cafe\u0301"], ["caf\u00e9", "cafe\u0301_2"]),
        (["..", ".", "line\nbreak", "nul\0"], ["_.", "_", "line_break", "nul_"]),
        (["n" * 300 + "a", "n" * 300 + "b"], ["n" * 200, "n" * 200 + "_2"]),
        (["liver", "spleen"], ["liver", "spleen"]),
    ],
)
def test_no_two_classes_have_one_file(classes, files):
    assert mask_names(classes) == dict(zip(classes, files))


def test_masks_whose_names_fall_together_are_all_written(tmp_path):
    labels = np.array([[[0, 1, 2, 3]]], np.uint8)
    values = {"right kidney": 1, "right_kidney": 2, "Right_Kidney": 3}
    geometry = {"spacing": [1.0, 1.0, 1.0]}
    prediction = Prediction(labels, values, {name: (value,) for name, value in values.items()}, geometry, None)
    prediction.write_masks(tmp_path / "scan", ".tif", Tiff3DIO())
    found = {file.stem: Tiff3DIO().read_seg(str(file))[0].ravel().tolist() for file in (tmp_path / "scan").glob("*.tif")}
    assert found == {"right_kidney_3": [0, 1, 0, 0], "right_kidney": [0, 0, 1, 0], "Right_Kidney_2": [0, 0, 0, 1]}
    prediction.write_masks(tmp_path / "scan", ".tif", Tiff3DIO())  # and are known as masks
    only = Prediction(labels, {"right kidney": 1}, {"right kidney": (1,)}, geometry, None)
    only.write_masks(tmp_path / "only", ".tif", Tiff3DIO(), mask_names(values))
    assert [file.name for file in (tmp_path / "only").glob("*.tif")] == ["right_kidney_3.tif"]  # as among all
