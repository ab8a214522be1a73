"""What a merge looks at in the files of its datasets: a bad case is named and stops no other, and nothing is passed over."""

import json
import os

import nibabel
import numpy as np
import pytest
from builders.merge import make_dataset, merge, read, spoil_values, states, write_volume
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge import merge_datasets


def spoil_shape(path):
    write_volume(path, np.zeros((5, 7, 8), np.uint8))


def spoil_spacing(path):
    write_volume(path, read(path), spacing=(0.8, 1.26, 3.0))


def spoil_origin(path):
    write_volume(path, read(path), origin=(-12.5, 30.5, 7.25))


def spoil_direction(path):
    write_volume(path, read(path), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))


def spoil_integers(path):
    write_volume(path, read(path).astype(np.float32) * 0.5)


def spoil_file(path):
    path.write_bytes(b"no image")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_shape, r"case 'a2': shape of image \S+a2_0000.nii.gz \(6 7 5\) and label \(8 7 5\) differ"),
        (spoil_spacing, r"case 'a2': spacing of image"),
        (spoil_origin, r"case 'a2': origin of image"),
        (spoil_direction, r"case 'a2': direction of image"),
        (spoil_values, r"case 'a2': label \S+a2.nii.gz holds the value 7, which `labels` of its dataset.json does not declare"),
        (spoil_integers, r"case 'a2': label \S+ holds values that are no integers \(0.5\)"),
        (spoil_file, r"case 'a2': .*a2.nii.gz"),
    ],
)
def test_a_bad_label_is_named_and_stops_no_other_case(two, spoil, message):
    spoil(two / "Dataset301_LITS/labelsTr/a2.nii.gz")
    with pytest.raises(UserError, match=message) as error:
        merge(301, 302)
    assert "Dataset301_LITS" in str(error.value) and "1 problem, Dataset400_M is not complete" in str(error.value)
    folder = two / "Dataset400_M"
    assert sorted(os.listdir(folder / "labelsTr")) == [f"{case}.nii.gz" for case in ("a1", "a3", "b1", "b2")]
    assert not (folder / "dataset.json").exists()
    good = read(two / "Dataset301_LITS/labelsTr/a1.nii.gz")
    write_volume(two / "Dataset301_LITS/labelsTr/a2.nii.gz", good)
    done = states(folder / "labelsTr")
    merge(301, 302)
    assert (folder / "dataset.json").is_file()
    assert {name: state for name, state in states(folder / "labelsTr").items() if name != "a2.nii.gz"} == done


def spoil_end(path):
    path.write_bytes(path.read_bytes()[:-4])


def spoil_nan(path):
    array = read(path).astype(np.float32)
    array[1, 2, 3] = np.nan
    write_volume(path, array)


def spoil_units(path):
    image = nibabel.load(path)
    image = nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, path)


@pytest.mark.parametrize("kind", ["imagesTr/a2_0000.nii.gz", "labelsTr/a2.nii.gz"])
@pytest.mark.parametrize(
    "spoil, message", [(spoil_end, "is damaged"), (spoil_nan, r"holds values that are no numbers \(nan or infinite\)")]
)
def test_a_torn_file_or_nan_is_named_and_stops_no_other_case(two, kind, spoil, message):
    spoil(two / f"Dataset301_LITS/{kind}")
    with pytest.raises(UserError, match=f"case 'a2': .*{kind} {message}"):
        merge(301, 302)
    written = sorted(os.listdir(two / "Dataset400_M/labelsTr"))
    assert written == [f"{case}.nii.gz" for case in ("a1", "a3", "b1", "b2")]


def test_an_image_that_nnunet_would_read_otherwise_is_refused(two):
    spoil_units(two / "Dataset301_LITS/imagesTr/a2_0000.nii.gz")
    with pytest.raises(UserError, match="a2_0000.nii.gz: its header counts in microns, .*`cdpd convert` writes it anew"):
        merge(301, 302)


def store_otherwise(path, how):
    """The same voxels at the same place by the sform; a qform of 5 mm beside it, or in NIfTI-2."""
    stored = nibabel.load(path)
    voxels = np.asanyarray(stored.dataobj)
    image = (nibabel.Nifti2Image if how == "nifti-2" else nibabel.Nifti1Image)(voxels, stored.affine)
    if how == "two places":
        image.set_sform(stored.affine, 2)
        beside = stored.affine.copy()
        beside[0, 3] += 5
        image.set_qform(beside, 1, update_affine=False)
    nibabel.save(image, path)


@pytest.mark.parametrize("how, told", [("two places", "up to 5 mm apart; the sform is used"), ("nifti-2", "NIfTI-2")])
@pytest.mark.parametrize("reader, is_right", [(None, False), ("SimpleITKIO", False), ("NibabelIO", True)])
def test_an_image_is_taken_if_the_reader_of_the_dataset_reads_it_right(raw, how, told, reader, is_right):
    extra = {} if reader is None else {"overwrite_image_reader_writer": reader}
    dataset = make_dataset(raw / "Dataset301_A", {"spleen": 1}, ["a1", "a2"], **extra)
    image, label = dataset / "imagesTr/a2_0000.nii.gz", dataset / "labelsTr/a2.nii.gz"
    original, affine = read(label), nibabel.load(image).affine
    store_otherwise(image, how)
    store_otherwise(label, how)
    if not is_right:
        with pytest.raises(UserError, match=f"case 'a2': {image}: .*{told}.*; nnU-Net reads the file itself, `cdpd convert`"):
            merge(301)
        return
    folder, _ = merge(301)
    written = folder / "labelsTr/a2.nii.gz"
    assert np.array_equal(read(written), original)
    np.testing.assert_allclose(nibabel.load(written).affine, affine, atol=1e-4)
    verify_dataset_integrity(str(folder), num_processes=1)


def test_nan_in_a_label_is_named(raw):
    make_dataset(raw / "Dataset301_A", {"spleen": 1}, ["a1"], ending=".mha")
    path = raw / "Dataset301_A/labelsTr/a1.mha"
    write_volume(path, np.where(read(path) == 0, np.nan, 1).astype(np.float32))
    with pytest.raises(UserError, match=r"case 'a1': \S+/a1.mha holds values that are no numbers \(nan or infinite\)"):
        merge(301)


def test_headers_that_differ_by_single_precision_are_fine(two):
    path = two / "Dataset301_LITS/labelsTr/a2.nii.gz"
    label = read(path)
    write_volume(path, label, origin=(-12.5, 30.0001, 7.25))
    folder, _ = merge(301, 302)
    assert np.array_equal(read(folder / "labelsTr/a2.nii.gz") > 0, label > 0)


def test_wrong_number_of_channels_is_named(two):
    make_dataset(two / "Dataset303_PET", {"spleen": 1}, ["c1", "c2"], ("CT", "PET"))
    (two / "Dataset303_PET/imagesTr/c2_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"Dataset303_PET: case 'c2': 1 image channel\(s\) .*`channel_names` lists 2"):
        merge(303)


def test_all_problems_are_listed_and_capped(raw):
    cases = [f"case{number:02d}" for number in range(25)]
    make_dataset(raw / "Dataset301_A", {"spleen": 1}, cases)
    for case in cases[:23]:
        (raw / f"Dataset301_A/labelsTr/{case}.nii.gz").unlink()
    (raw / "Dataset301_A/imagesTr/case24_0000.nii.gz").unlink()
    with pytest.raises(UserError) as error:
        merge(301)
    text = str(error.value)
    assert "24 problems, nothing was written" in text and "... and 4 more" in text
    assert text.index("case 'case24': no image") < text.index("case 'case00': label") < text.index("case 'case18'")


def test_differing_channels_and_file_endings_are_named(two):
    make_dataset(two / "Dataset303_MR", {"spleen": 1}, ["c1"], ("T2",))
    make_dataset(two / "Dataset304_NRRD", {"spleen": 1}, ["d1"], ("ct",), ".nrrd")
    with pytest.raises(UserError, match="Dataset303_MR: channel_names are T2, those of Dataset301_LITS CT"):
        merge(301, 303)
    with pytest.raises(UserError, match="Dataset304_NRRD: file_ending is .nrrd, that of Dataset301_LITS .nii.gz"):
        merge(301, 304)


def test_empty_source_is_named(two):
    make_dataset(two / "Dataset303_NONE", {"spleen": 1}, [])
    with pytest.raises(UserError, match="Dataset303_NONE: holds no case"):
        merge(301, 303)
    merged = merge_datasets([301, 302], 390, "FIRST", num_processes=1, progress=False, report=lambda text: None)
    path = merged / "dataset.json"
    content = json.loads(path.read_text())
    content["cdpd"]["case_source"] = dict.fromkeys(("a1", "a2", "a3", "b1"), "LITS")
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="source 'ORGANS' has no case") as error:
        merge(390)
    assert f"case 'b2': {path}: case 'b2' is missing in `cdpd: case_source`" in str(error.value)


def test_missing_image_of_a_dataset_entry_is_named(two):
    listed = {
        "a1": {"images": ["imagesTr/none.nii.gz"], "label": "labelsTr/a1.nii.gz"},
        "a/2": {"images": [], "label": ""},
        "x": {},
        "y": {"images": [], "label": "labelsTr/a1.nii.gz"},
        "z": {"images": "imagesTr/a1_0000.nii.gz", "label": "labelsTr/a1.nii.gz"},
        "n": None,
    }
    path = two / "Dataset301_LITS/dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": listed}))
    with pytest.raises(UserError) as error:
        merge(301)
    assert f"case 'a1': image {two}/Dataset301_LITS/imagesTr/none.nii.gz is missing" in str(error.value)
    assert "case 'a/2': a case identifier becomes a file name" in str(error.value)
    for case in ("x", "y", "z", "n"):
        assert f"case '{case}': its `dataset` entry in dataset.json needs a list `images` and a `label`" in str(error.value)


def test_annotated_class_that_no_case_contains_is_warned_about(raw):
    make_dataset(raw / "Dataset301_A", {"spleen": 1, "liver": 2}, ["a1"], stored=[2])
    _, messages = merge(301)
    assert "warning: source 'A' annotates spleen, but none of its cases contains it" in messages


def test_classes_only_annotated_together_are_warned_about(raw):
    make_dataset(raw / "Dataset301_A", {"kidney": 1}, ["a1"])
    _, messages = merge(301, spec={"merged_labels": {"kidney": ["right_kidney", "left_kidney"]}})
    assert any("right_kidney, left_kidney: only annotated together, as 'kidney'" in message for message in messages)


@pytest.mark.parametrize(
    "dataset_json, message",
    [
        ("{", "cannot be read as JSON"),
        ({"labels": {}}, "`channel_names`, `file_ending` missing"),
        ({"labels": {"0": "background", "1": "liver"}}, r"label '0' is 'background', not a value"),
        ({"labels": {"background": 0}}, "holds no class besides background"),
        ({"channel_names": {"CT": "0"}}, "`channel_names` numbers the channels"),
        ({"dataset": [{"images": ["a"], "label": "b"}]}, "`dataset` gives each case its files, like"),
    ],
)
def test_damaged_dataset_json_is_named_with_its_path(two, dataset_json, message):
    path = two / "Dataset301_LITS/dataset.json"
    if message.endswith("missing"):
        path.write_text(json.dumps(dataset_json))
    elif isinstance(dataset_json, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | dataset_json))
    else:
        path.write_text(dataset_json)
    with pytest.raises(UserError, match=message) as error:
        merge(301)
    assert str(path) in str(error.value)


def test_unknown_datasets_are_named_with_those_there_are(two):
    with pytest.raises(UserError, match="no dataset has this id, 999; .*Dataset301_LITS, Dataset302_ORGANS"):
        merge(999)
    with pytest.raises(UserError, match="nowhere: no nnU-Net raw dataset here"):
        merge("nowhere")
    (two / "Dataset301_OTHER").mkdir()
    with pytest.raises(UserError, match="more than one dataset has this id, 301"):
        merge(301)


def test_unset_nnunet_raw_is_one_line(two, monkeypatch):
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(UserError, match="nnUNet_raw is not set; `export nnUNet_raw="):
        merge(301)
