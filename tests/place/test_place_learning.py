"""`cdpd place` on files: what it writes, reads again and refuses, and `cdpd clean --place` with it."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.bodies import ORGANS, body_cases, made_up_body, write_body_dataset, write_volume

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.cli.main import main
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.place import learning
from nnunetv2_cdpd.place.files import copy_place, read_place
from nnunetv2_cdpd.place.learning import learn_dataset

HEART_TOO_LOW = (60.0, -16.0, 32.0)  # mm: height, depth, side; a heart in the pelvis


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_body_dataset(tmp_path_factory.mktemp("raw") / "Dataset007_Bodies", body_cases(8), axes="RAI")


@pytest.fixture(scope="module")
def place_file(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("learned") / "place.json"
    learn_dataset(dataset, path, num_processes=1, progress=False)
    return path


def annotation_of(folder):
    return read_annotation(json.loads((folder / "dataset.json").read_text()))


def test_the_file_is_of_its_dataset_and_no_other(dataset, place_file, tmp_path):
    place = read_place(place_file, annotation_of(dataset))
    assert place.dataset == "Dataset007_Bodies" and place.model.classes == tuple(ORGANS)
    assert len(place.cases) == 8 and all(None not in references for references in place.cases.values())
    assert copy_place(place_file.parent, tmp_path, annotation_of(dataset)) == []
    assert read_place(tmp_path, annotation_of(dataset)).cases == place.cases
    other = read_annotation({"labels": {"background": 0, "kidney": 1, "spleen": 2}}, "dataset.json")
    with pytest.raises(UserError, match="with the classes liver, bladder, heart, none of which is in dataset.json; give that of"):
        read_place(place_file, other)


def test_it_is_read_by_class_names_and_of_others_nothing_is_known(dataset, place_file):
    own = read_place(place_file, annotation_of(dataset)).model
    more = read_annotation({"labels": {"background": 0, "heart": 1, "spleen": 2, "liver": 3}})
    place = read_place(place_file, more)
    assert place.model.classes == ("heart", "spleen", "liver") and place.model.cases == (own.cases[2], 0, own.cases[0])
    references = next(iter(place.cases.values()))
    before, after = own.boxes(references), place.model.boxes(references)
    np.testing.assert_array_equal(after[[0, 2]], before[[2, 0]])
    assert np.isfinite(before[[2, 0]]).all() and np.isinf(after[1]).all()
    # What is predicted of a class that it does not know says nothing of the others.
    ends = np.full((3, 3, 2), np.nan)
    ends[1] = 1.0
    said = np.array([its.position for its in references])
    assert place.model.references(said, ends) == place.model.references(said, np.full((3, 3, 2), np.nan))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(version=0), "of another release; remove it and make it anew"),
        (lambda content: content["place"]["cases"].pop(), "numbers do not belong together; remove it and make it anew"),
        (lambda content: content["place"]["heights"]["means"].pop(), "`place: heights: means` is .* not a list of"),
        (lambda content: content.pop("cases"), "`cases` is missing"),
        (lambda content: content["place"]["axes"][0].update(image_spread=0), "`place: axes: 0: image_spread` is 0"),
        (lambda content: content["place"]["axes"][1]["spreads"][0].__setitem__(0, -3), "`place: axes: 1: spreads: 0: 0` is -3"),
    ],
)
def test_a_damaged_file_is_refused(change, message, dataset, place_file, tmp_path):
    content = json.loads(place_file.read_text())
    change(content)
    (tmp_path / "place.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_place(tmp_path, annotation_of(dataset))


def test_of_other_images_than_cts_nothing_is_learned(tmp_path):
    dataset = write_body_dataset(tmp_path / "Dataset009_MR", body_cases(1), channel="T1")
    with pytest.raises(UserError, match=r"dataset.json: channels T1, none of which is CT; of other images nothing can be said"):
        learn_dataset(dataset, tmp_path / "place.json")


def test_a_file_of_somebody_else_stays(dataset, tmp_path):
    (tmp_path / "place.json").write_text("{}")
    with pytest.raises(UserError, match="nothing says that this command made it"):
        learn_dataset(dataset, tmp_path / "place.json")
    assert (tmp_path / "place.json").read_text() == "{}"


def test_the_stored_orientation_of_a_dataset_changes_nothing(dataset, place_file, tmp_path):
    turned = write_body_dataset(tmp_path / "Dataset007_Bodies", body_cases(8), axes="PIR")
    learn_dataset(turned, tmp_path / "place.json", num_processes=1, progress=False)
    assert json.loads((tmp_path / "place.json").read_text()) == json.loads(place_file.read_text())


def write_ignoring(folder, hidden):
    """Of cases whose label maps are ignored above the middle of the heart."""
    cases = list(body_cases(8))
    write_body_dataset(folder, cases, axes="RAI")
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "labels": {**content["labels"], "ignore": 4}}))
    for index in hidden:
        labels = cases[index][1].copy()
        labels[np.nonzero((labels == 3).any((1, 2)))[0][3] :] = 4
        write_volume(folder / "labelsTr" / f"s_{index:02d}.nii.gz", labels, "RAI")
    return folder


@pytest.mark.parametrize("hidden", [(1, 4), tuple(range(8))])
def test_where_an_ignored_part_begins_no_class_ends(hidden, place_file, dataset, tmp_path):
    folder = write_ignoring(tmp_path / "Dataset007_Bodies", hidden)
    learn_dataset(folder, tmp_path / "place.json", num_processes=1, progress=False)
    found, whole = (read_place(file, annotation_of(dataset)).model for file in (tmp_path / "place.json", place_file))
    assert found.cases == whole.cases
    low, high = found.axes[0].positions[2]
    assert low == pytest.approx(whole.axes[0].positions[2, 0], abs=4)
    if len(hidden) == 8:
        assert np.isnan(high)
    else:
        assert high == pytest.approx(whole.axes[0].positions[2, 1], abs=4)


def test_a_case_that_cannot_be_read_is_named_and_the_others_teach(tmp_path, capsys):
    dataset = write_body_dataset(tmp_path / "Dataset007_Bodies", body_cases(6))
    image = dataset / "imagesTr" / "s_03_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:-50])
    assert main(["place", str(dataset), "-o", str(tmp_path / "p.json"), "-np", "1"]) == 1
    printed = capsys.readouterr()
    assert f"{image} is damaged" in printed.err and f"written to {tmp_path / 'p.json'}" in printed.out
    rows = [line.split() for line in printed.out.splitlines()]
    assert [row[:2] for row in rows if row and row[0] in ORGANS] == [["liver", "5"], ["bladder", "5"], ["heart", "5"]]


def test_an_image_of_another_shape_than_its_label_map_is_named(tmp_path):
    dataset = write_body_dataset(tmp_path / "Dataset007_Bodies", body_cases(1))
    write_volume(dataset / "imagesTr" / "s_00_0000.nii.gz", made_up_body(0, 80, 0)[0])
    with pytest.raises(UserError, match=r"10 x 28 x 32 voxels, its label map has 62 x 28 x 32"):
        learn_dataset(dataset, tmp_path / "place.json", num_processes=1, progress=False)


@pytest.mark.parametrize("changed", ["axes", "spacing"])
def test_an_image_whose_voxels_lie_otherwise_than_its_label_map_says_is_named(changed, tmp_path):
    dataset = write_body_dataset(tmp_path / "Dataset007_Bodies", body_cases(1))
    path = dataset / "imagesTr" / "s_00_0000.nii.gz"
    image = sitk.ReadImage(str(path))
    if changed == "axes":
        image = sitk.DICOMOrient(image, "LPI")
    else:
        image.SetSpacing((8.0, 8.0, 4.0))
    sitk.WriteImage(image, str(path))
    with pytest.raises(UserError, match=r"s_00_0000.nii.gz: its axes run otherwise, or .* different images"):
        learn_dataset(dataset, tmp_path / "place.json", num_processes=1, progress=False)


def test_of_a_file_without_the_channel_of_the_ct_nothing_is_said(predictions, place_file, capsys):
    content = json.loads((predictions / "dataset.json").read_text())
    (predictions / "dataset.json").write_text(json.dumps({**content, "channel_names": {"0": "PET", "1": "CT"}}))
    assert clean(predictions, place_file)[0] == 1  # only the PETs are there
    assert "false_0000.nii.gz: 1 channel, and the CT is number 1" in capsys.readouterr().err


# ---- cdpd clean --place ----------------------------------------------------------------------------------------------


@pytest.fixture
def predictions(dataset, tmp_path):
    """Of a body, with a heart in the pelvis beside the real one, and with a real heart that reaches a bit too far."""
    image, labels = made_up_body(30, 560, seed=90)
    false, near = labels.copy(), labels.copy()
    bottom = round((HEART_TOO_LOW[0] - 30) / 8)
    false[bottom : bottom + 4, 10:14, 20:24] = 3
    top = np.flatnonzero((labels == 3).any((1, 2)))[-1]
    near[top + 3 : top + 5, 10:14, 18:22] = 3  # a piece of its own, 16 mm above it
    folder = tmp_path / "predicted"
    for name in ("predicted", "images"):
        (tmp_path / name).mkdir()
    (folder / "dataset.json").write_text((dataset / "dataset.json").read_text())
    for case, label_map in (("false", false), ("near", near)):
        write_volume(folder / f"{case}.nii.gz", label_map, "RPS")
        write_volume(tmp_path / "images" / f"{case}_0000.nii.gz", image, "RPS")
    return folder


def clean(predictions, place_file, *more):
    out = predictions.parent / "cleaned"
    given = ["--place", str(place_file), "--images", str(predictions.parent / "images"), "-np", "1"]
    return main(["clean", str(predictions), str(out), *given, *more]), out


def test_a_false_organ_far_away_goes_and_one_at_the_border_of_the_range_stays(predictions, place_file, capsys):
    code, out = clean(predictions, place_file, "--rules", "place")
    assert code == 0
    assert ["place", "heart", "1", "64", "0"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    before, after = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / "false.nii.gz"))) for f in (predictions, out))
    assert (before == 3).sum() - (after == 3).sum() == 64 and (after == 3).any()
    np.testing.assert_array_equal(before[before != 3], after[before != 3])
    assert json.loads((out / "cleanup.json").read_text())["cases"]["near"]["place"] == {}


def test_with_another_place_the_folder_is_made_anew(predictions, place_file, dataset, tmp_path):
    _, out = clean(predictions, place_file, "--rules", "place")
    first = (out / "near.nii.gz").stat().st_mtime_ns
    clean(predictions, place_file, "--rules", "place")
    assert (out / "near.nii.gz").stat().st_mtime_ns == first
    other = tmp_path / "other.json"
    content = json.loads(place_file.read_text())
    content["place"]["cases"] = [4, 4, 4]
    other.write_text(json.dumps(content))
    assert clean(predictions, other, "--rules", "place")[0] == 0
    assert json.loads((out / "cleanup.json").read_text())["cases"]["false"]["place"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--place", "place.json"], "--images: is needed with --place; give both"),
        (["--images", "images"], "--place: is needed with --images; give both"),
        (["--rules", "place"], "--rules: place needs what was learned of the dataset; give --place and --images"),
    ],
)
def test_place_needs_what_was_learned_and_the_images(arguments, message, predictions, capsys):
    assert main(["clean", str(predictions), str(predictions.parent / "cleaned"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_case_without_its_image_is_named(predictions, place_file, capsys):
    image = predictions.parent / "images" / "near_0000.nii.gz"
    image.unlink()
    code, out = clean(predictions, place_file)
    assert code == 1 and f"{image}: no such file; the image of a case is called CASE_0000.nii.gz" in capsys.readouterr().err
    assert [path.name for path in out.glob("*.nii.gz")] == ["false.nii.gz"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, a folder in which no file can be made")
def test_a_place_where_nothing_can_be_written_is_told_before_the_work(dataset, monkeypatch):
    monkeypatch.setattr(learning, "run", lambda *args, **kwargs: pytest.fail("began to read the cases"))
    with pytest.raises(OSError, match="/proc"):
        learn_dataset(dataset, "/proc/place.json", num_processes=1, progress=False)
