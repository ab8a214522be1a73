"""merge_datasets on real files: what comes out, voxel by voxel, and that nnU-Net takes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.merge import make_dataset, merge, read, states
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.merge import merge_datasets


def test_labels_are_rewritten_voxel_by_voxel_and_images_referenced(two):
    images_before = states(two)
    folder, _ = merge(301, "Dataset302_ORGANS")
    assert folder == two / "Dataset400_M"
    dataset_json = json.loads((folder / "dataset.json").read_text())
    annotation = read_annotation(dataset_json)
    assert annotation.classes == ("liver", "liver_tumor", "spleen")
    assert dict(annotation.case_source) == {"a1": "LITS", "a2": "LITS", "a3": "LITS", "b1": "ORGANS", "b2": "ORGANS"}
    mapping = {"Dataset301_LITS": [0, 1, 2], "Dataset302_ORGANS": [0, 3, 1]}
    for case, files in dataset_json["dataset"].items():
        name = "Dataset301_LITS" if case.startswith("a") else "Dataset302_ORGANS"
        original, rewritten = (sitk.ReadImage(str(path / f"labelsTr/{case}.nii.gz")) for path in (two / name, folder))
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(rewritten), np.array(mapping[name])[sitk.GetArrayFromImage(original)]
        )
        assert rewritten.GetPixelID() == sitk.sitkUInt8
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(rewritten, get)(), getattr(original, get)(), rtol=1e-6, atol=1e-6)
        assert files["images"] == [f"../{name}/imagesTr/{case}_0000.nii.gz"]
    after = states(two)
    assert {path: after[path] for path in images_before} == images_before
    assert not list(folder.glob("imagesTr")) and not list(folder.glob(".partial"))
    assert dataset_json["licence"] == "ORGANS: CC0" and dataset_json["numTraining"] == 5
    found = get_filenames_of_train_images_and_targets(str(folder), dataset_json)
    assert all(Path(path).is_file() for files in found.values() for path in (*files["images"], files["label"]))


def test_result_passes_nnunets_integrity_check(raw, tmp_path, capsys):
    """Regions, an ignore label, a merged label, two channels, a folder elsewhere: nnU-Net accepts what comes out."""
    channels = ("CT", "PET")
    make_dataset(tmp_path / "kits", {"kidney": [1, 2], "kidney_tumor": 2}, ["k 1"], channels, regions_class_order=[1, 2])
    make_dataset(raw / "Dataset302_SIDES", {"right_kidney": 1, "left_kidney": 2, "ignore": 3}, ["s1"], channels)
    folder, _ = merge(tmp_path / "kits", 302)
    dataset_json = json.loads((folder / "dataset.json").read_text())
    annotation = read_annotation(dataset_json)
    assert [source.name for source in annotation.sources] == ["kits", "SIDES"]
    assert annotation.classes == ("right_kidney", "left_kidney", "kidney_tumor")
    assert annotation.sources[0].merged_labels == ("kidney",)
    assert (annotation.merged_labels[0].value, annotation.ignore_value) == (4, 5)
    np.testing.assert_array_equal(
        read(folder / "labelsTr/k 1.nii.gz"), np.array([0, 4, 3])[read(tmp_path / "kits/labelsTr/k 1.nii.gz")]
    )
    np.testing.assert_array_equal(
        read(folder / "labelsTr/s1.nii.gz"), np.array([0, 1, 2, 5])[read(raw / "Dataset302_SIDES/labelsTr/s1.nii.gz")]
    )
    assert dataset_json["dataset"]["k 1"]["images"][1] == str(tmp_path / "kits/imagesTr/k 1_0001.nii.gz")
    verify_dataset_integrity(str(folder), num_processes=1)
    assert "verify_dataset_integrity Done" in capsys.readouterr().out


def test_classes_without_nesting_get_sigmoid_heads_and_pass_too(two):
    make_dataset(two / "Dataset303_GLAND", {"gland": 1}, ["c1"])
    folder, _ = merge(303)
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "gland": [1, 1]}
    verify_dataset_integrity(str(folder), num_processes=1)


def test_a_merged_dataset_can_be_merged_again(two, raw):
    make_dataset(raw / "Dataset303_GLAND", {"gland": 1}, ["c1"])
    first = merge_datasets([301, 302], 390, "FIRST", num_processes=1, progress=False, report=lambda text: None)
    folder, _ = merge(303, 390)
    annotation = read_annotation(json.loads((folder / "dataset.json").read_text()))
    assert annotation.case_source["a1"] == "LITS" and annotation.case_source["c1"] == "GLAND"
    np.testing.assert_array_equal(read(folder / "labelsTr/b1.nii.gz"), np.array([0, 2, 3, 4])[read(first / "labelsTr/b1.nii.gz")])
    dataset = json.loads((folder / "dataset.json").read_text())["dataset"]
    assert dataset["a1"]["images"] == ["../Dataset301_LITS/imagesTr/a1_0000.nii.gz"]


def test_environment_variables_in_image_paths_stay(two, monkeypatch):
    monkeypatch.setenv("CT_DATA", str(two / "Dataset301_LITS"))
    listed = {"a1": {"images": ["$CT_DATA/imagesTr/a1_0000.nii.gz"], "label": "$CT_DATA/labelsTr/a1.nii.gz"}}
    path = two / "Dataset301_LITS/dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": listed}))
    folder, _ = merge(301)
    assert json.loads((folder / "dataset.json").read_text())["dataset"] == {
        "a1": {"images": ["$CT_DATA/imagesTr/a1_0000.nii.gz"], "label": "labelsTr/a1.nii.gz"}
    }


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii"])
def test_other_file_endings(raw, ending):
    make_dataset(raw / "Dataset301_A", {"spleen": 1}, ["a1"], ending=ending)
    folder, _ = merge(301)
    rewritten, original = (folder / f"labelsTr/a1{ending}", raw / f"Dataset301_A/labelsTr/a1{ending}")
    np.testing.assert_array_equal(read(rewritten), read(original))
    np.testing.assert_allclose(
        sitk.ReadImage(str(rewritten)).GetDirection(), sitk.ReadImage(str(original)).GetDirection(), atol=1e-6
    )


def test_natural_images_with_channels_in_one_file(raw):
    folder = make_dataset(raw / "Dataset301_A", {"road": 1}, [], ("R", "G", "B"), ".png")
    for kind, array in (("imagesTr/a1_0000", np.zeros((6, 8, 3), np.uint8)), ("labelsTr/a1", np.eye(6, 8, dtype=np.uint8))):
        (folder / kind).parent.mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(folder / f"{kind}.png"))
    merged, _ = merge(301)
    np.testing.assert_array_equal(read(merged / "labelsTr/a1.png"), np.eye(6, 8))


def test_reader_asked_for_by_all_datasets_is_carried(two):
    for name in ("Dataset301_LITS", "Dataset302_ORGANS"):
        path = two / name / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"overwrite_image_reader_writer": "NibabelIO"}))
    folder, _ = merge(301, 302)
    assert json.loads((folder / "dataset.json").read_text())["overwrite_image_reader_writer"] == "NibabelIO"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if not k.startswith("overwrite")}))
    folder, messages = merge(301, 302)
    assert "overwrite_image_reader_writer" not in json.loads((folder / "dataset.json").read_text())
    assert any("ask for different readers" in message for message in messages)


def test_more_than_255_values_need_a_wider_type(raw):
    labels = {f"structure{k}": k for k in range(1, 301)}
    make_dataset(raw / "Dataset301_A", labels, ["a1"], stored=[1, 255])
    folder, _ = merge(301)
    np.testing.assert_array_equal(read(folder / "labelsTr/a1.nii.gz"), read(raw / "Dataset301_A/labelsTr/a1.nii.gz"))


def test_prefix_keeps_equal_case_identifiers_apart(raw):
    for number in (1, 2):
        make_dataset(raw / f"Dataset30{number}_S{number}", {"spleen": 1}, ["case"])
    with pytest.raises(UserError, match=r"case 'case' is in Dataset301_S1 \(source S1\) and in Dataset302_S2 .*argument prefix"):
        merge(301, 302)
    assert not (raw / "Dataset400_M").exists()
    folder, _ = merge(301, 302, prefix=True)
    assert sorted(json.loads((folder / "dataset.json").read_text())["dataset"]) == ["S1_case", "S2_case"]


def test_prefix_that_makes_two_cases_of_one_dataset_equal_is_refused(raw):
    block = {
        "version": 1,
        "sources": {name: {"annotated_classes": ["spleen"]} for name in ("A", "A_B")},
        "case_source": {"B_x": "A", "x": "A_B"},
    }
    make_dataset(raw / "Dataset301_S", {"spleen": [1, 1]}, ["B_x", "x"], regions_class_order=[1], cdpd=block)
    with pytest.raises(
        UserError, match=r"case 'A_B_x' is in Dataset301_S \(source A\) and in Dataset301_S \(source A_B\); give .* `name`"
    ):
        merge(301, prefix=True)
    folder, _ = merge(301, prefix=True, spec={"datasets": {"301": {"sources": {"A_B": {"name": "C"}}}}})
    assert sorted(json.loads((folder / "dataset.json").read_text())["dataset"]) == ["A_B_x", "C_x"]
