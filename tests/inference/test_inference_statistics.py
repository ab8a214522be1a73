"""Statistics: volume, mean and centroid, derivable by hand."""

import csv
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.outputs import STATISTICS
from nnunetv2_cdpd.inference.prediction import Prediction
from nnunetv2_cdpd.inference.run import _collect_statistics
from nnunetv2_cdpd.inference.statistics import prediction_statistics, write_table
from nnunetv2_cdpd.volumes.grid import Grid


def make_prediction(labels, properties=None):
    values = {"liver": 1, "liver_tumor": 2, "spleen": 3}
    regions = {"liver": (1, 2), "liver_tumor": (2,), "spleen": (3,)}
    return Prediction(labels, values, regions, properties or {"spacing": [5.0, 2.0, 1.0]}, None)


def test_a_class_includes_what_lies_in_it():
    labels, image = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.float32)
    labels[0, 1, 2], labels[0, 1, 4], labels[2, 1, 3] = 1, 1, 2  # 10 mm^3 each
    image[0, 1, 2], image[0, 1, 4], image[2, 1, 3] = 50, 70, 0
    found = prediction_statistics(make_prediction(labels), image, "CT")
    assert found["liver"] == {
        "volume_ml": 0.03, "voxels": 3, "mean_HU": 40.0, "centroid_voxel": [0.6667, 1.0, 3.0], "centroid_mm": None
    }  # fmt: skip
    assert found["liver_tumor"]["mean_HU"] == 0 and found["liver_tumor"]["centroid_voxel"] == [2, 1, 3]


def test_a_class_that_is_not_there_has_no_volume_and_no_place():
    found = prediction_statistics(make_prediction(np.zeros((3, 4, 5), np.uint8)), np.ones((3, 4, 5)), "MR")
    assert found["spleen"] == {"volume_ml": 0.0, "voxels": 0, "mean_intensity": None, "centroid_voxel": None, "centroid_mm": None}


def test_a_2d_image_has_no_volume():
    """nnU-Net's readers give it one slice of a made-up thickness; a real single slice has a volume."""
    labels = np.ones((1, 4, 5), np.uint8)
    for spacing, volume in (([999, 1, 1], None), ([1.2 * 999, 0.8, 1.2], None), ([30, 1, 1], 0.6)):
        found = prediction_statistics(make_prediction(labels, {"spacing": spacing}), None, "R")
        assert found["liver"]["volume_ml"] == volume and found["liver"]["voxels"] == 20


def test_without_image_no_mean():
    assert "mean_HU" not in prediction_statistics(make_prediction(np.ones((3, 4, 5), np.uint8)), None, "CT")["liver"]


def test_both_readers_place_a_voxel_where_simpleitk_does(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    image.SetSpacing((0.9, 1.1, 2.0))
    image.SetOrigin((12.5, -30.0, 7.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "case.nii.gz"))
    expected = image.TransformContinuousIndexToPhysicalPoint((3.0, 1.0, 0.5))
    for reader in (SimpleITKIO, NibabelIO):
        _, properties = reader().read_images([str(tmp_path / "case.nii.gz")])
        assert Grid.of_properties((3, 4, 5), properties).position([3.0, 1.0, 0.5]) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("reader", [NibabelIOWithReorient, SimpleITKIOWithReorient])
def test_the_centroid_is_that_of_the_written_file(tmp_path, reader):
    """An axial slice's rows, columns and order all differ from nnU-Net's array, by a reader that reorders axes."""
    affine = np.array([[0, 0, -2.5, 5], [0, 1.5, 0, 6], [-1.25, 0, 0, 7], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine), tmp_path / "case.nii.gz")
    _, properties = reader().read_images([str(tmp_path / "case.nii.gz")])
    labels = np.zeros((5, 6, 7), np.uint8)  # z, y, x of the reordered array
    labels[1:3, 2, 4], labels[4, 5, 6] = 1, 3
    reader().write_seg(labels, str(tmp_path / "label.nii.gz"), properties)
    written = sitk.ReadImage(str(tmp_path / "label.nii.gz"))
    found = prediction_statistics(make_prediction(labels, properties), None, "CT")
    for name, value in (("liver", 1), ("spleen", 3)):
        voxel = np.argwhere(sitk.GetArrayFromImage(written) == value).mean(0)
        assert found[name]["centroid_voxel"] == voxel.tolist()
        at = written.TransformContinuousIndexToPhysicalPoint(voxel[::-1].tolist())
        assert found[name]["centroid_mm"] == pytest.approx(at, abs=1e-3)
    assert found["liver"]["centroid_voxel"] != [1.5, 2, 4]


def test_reoriented_images_are_placed_by_their_new_axes():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    stuff = {"original_affine": nibabel.affines.from_matvec(np.eye(3)), "reoriented_affine": affine}
    grid = Grid.of_properties((3, 4, 5), {"nibabel_stuff": stuff})
    assert grid.position([1.0, 1.0, 1.0]).tolist() == [-1.0, -2.0, 3.0]


def test_a_format_without_place_has_none():
    flat = {"spacing": (1.0, 1.0), "origin": (0.0, 0.0), "direction": (1, 0, 0, 1)}
    for properties in ({"spacing": [1, 1, 1]}, {"spacing": [999, 1, 1], "sitk_stuff": flat}):
        prediction = make_prediction(np.ones((1, 4, 5), np.uint8), properties=properties)
        assert prediction_statistics(prediction, None, "CT")["liver"]["centroid_mm"] is None


def test_the_table_has_a_row_per_case_and_class(tmp_path):
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 2, 3] = 1
    found = prediction_statistics(make_prediction(labels), None, "CT")
    write_table(tmp_path / "table.csv", {"b": found, "a": found})
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    found = [(row["case"], row["class"]) for row in rows[:4]]
    assert found == [("b", "liver"), ("b", "liver_tumor"), ("b", "spleen"), ("a", "liver")]
    assert (rows[0]["volume_ml"], rows[0]["centroid_voxel_z"], rows[0]["centroid_voxel_x"]) == ("0.01", "1.0", "3.0")
    assert rows[1]["centroid_voxel_y"] == rows[1]["centroid_mm_head"] == ""


def test_damaged_statistics_of_a_case_are_told_by_their_file(tmp_path):
    outputs = SimpleNamespace(folder=tmp_path, tables=(tmp_path / "statistics.json", tmp_path / "statistics.csv"))
    (tmp_path / STATISTICS).mkdir()
    for content in ('{"liver": {"voxels": 3', "[1]", '{"liver": 5}'):
        (tmp_path / STATISTICS / "a.json").write_text(content)
        with pytest.raises(UserError, match="statistics/a.json: .*; remove it and predict its case again"):
            _collect_statistics(outputs)
