"""A merge of datasets that ask for different readers: every voxel of image and label as its dataset asks, or refused."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from builders.merge import make_dataset, merge, write_volume
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from nnunetv2_cdpd.errors import UserError

SHAPE = (4, 5, 6)  # z, y, x in the patient's left, back and head
REORIENT = "NibabelIOWithReorient"


def write_case(folder, case, orientation):
    """A scan stored in an orientation; its label is 1 in the patient's left half, 2 in a corner; the image tells each voxel."""
    label = np.zeros(SHAPE, np.uint8)
    label[:, :, 4:] = 1
    label[0, 0, 0] = 2
    for kind, array in (("imagesTr/{}_0000", np.arange(label.size, dtype=np.float32).reshape(SHAPE)), ("labelsTr/{}", label)):
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((0.8, 1.25, 3.0))
        path = folder / f"{kind.format(case)}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.DICOMOrient(volume, orientation), str(path))
    return label


def make(raw, number, reader, cases):
    labels = {"liver": 1, "spleen": 2} if number == 301 else {"spleen": 2, "liver": 1}
    extra = {} if reader is None else {"overwrite_image_reader_writer": reader}
    folder = make_dataset(raw / f"Dataset{number}_S{number}", labels, [], **extra)
    for case, orientation in cases.items():
        write_case(folder, case, orientation)
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numTraining": len(cases)}))
    return folder


def as_nnunet_reads(folder):
    """Case -> image and label map of a merged dataset as nnU-Net's preprocessing reads them."""
    dataset_json = json.loads((folder / "dataset.json").read_text())
    found = {}
    for case, files in dataset_json["dataset"].items():
        paths = [str((folder / files["images"][0]).resolve()), str(folder / files["label"])]
        reader = determine_reader_writer_from_dataset_json(dataset_json, paths[0], verbose=False)()
        found[case] = reader.read_images((paths[0],))[0][0], reader.read_seg(paths[1])[0][0]
    return dataset_json, found


@pytest.mark.parametrize("other", [None, "SimpleITKIO", "NibabelIO"])
def test_a_mix_with_the_reader_that_turns_images_turns_all_of_them(raw, other):
    make(raw, 301, REORIENT, {"a1": "LAS", "a2": "RAS", "a3": "PSR"})
    make(raw, 302, other, {"b1": "LPS", "b2": "RAS"})
    folder, messages = merge(301, 302, search_duplicates=False)
    assert f"({', '.join(sorted((REORIENT, str(other))))}); {REORIENT} reads all of them" in " ".join(messages)
    dataset_json, read = as_nnunet_reads(folder)
    assert dataset_json["overwrite_image_reader_writer"] == REORIENT and set(read) == {"a1", "a2", "a3", "b1", "b2"}
    label = np.zeros(SHAPE, np.uint8)
    label[:, :, 4:], label[0, 0, 0] = 1, 2
    expected = label[:, ::-1, ::-1]  # from the patient's right, back and feet on: RAS
    for image, seg in read.values():
        np.testing.assert_array_equal(image, np.arange(label.size).reshape(SHAPE)[:, ::-1, ::-1])
        np.testing.assert_array_equal(seg, expected)


def test_the_rewritten_label_lies_in_its_file_as_the_image_does(raw):
    sources = {"a1": "PSR", "a2": "LAS"}
    make(raw, 301, REORIENT, sources)
    make(raw, 302, None, {"b1": "LPI"})
    folder, _ = merge(301, 302, search_duplicates=False)
    for number, case in ((301, "a1"), (301, "a2"), (302, "b1")):
        original, rewritten = (
            sitk.ReadImage(str(place / f"labelsTr/{case}.nii.gz")) for place in (raw / f"Dataset{number}_S{number}", folder)
        )
        np.testing.assert_array_equal(sitk.GetArrayFromImage(rewritten), sitk.GetArrayFromImage(original))
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(rewritten, get)(), getattr(original, get)(), rtol=1e-6, atol=1e-6)


def test_readers_that_leave_the_axes_give_the_same_voxels(raw):
    make(raw, 301, "NibabelIO", {"a1": "LAS"})
    make(raw, 302, "SimpleITKIO", {"b1": "PSR"})
    folder, messages = merge(301, 302, search_duplicates=False)
    assert any("(NibabelIO, SimpleITKIO); they read the same voxels" in text for text in messages)
    dataset_json, read = as_nnunet_reads(folder)
    assert "overwrite_image_reader_writer" not in dataset_json
    for number, case, name in ((301, "a1", "NibabelIO"), (302, "b1", "SimpleITKIO")):
        place = raw / f"Dataset{number}_S{number}"
        asked = {"overwrite_image_reader_writer": name, "file_ending": ".nii.gz"}
        image_path, label_path = str(place / f"imagesTr/{case}_0000.nii.gz"), str(place / f"labelsTr/{case}.nii.gz")
        reader = determine_reader_writer_from_dataset_json(asked, image_path, verbose=False)()
        np.testing.assert_array_equal(read[case][0], reader.read_images((image_path,))[0][0])
        np.testing.assert_array_equal(read[case][1], reader.read_seg(label_path)[0][0])


def test_readers_of_which_nothing_is_known_are_refused_before_anything_is_written(raw):
    make(raw, 301, REORIENT, {"a1": "RAS"})
    make(raw, 302, "Tiff3DIO", {"b1": "RAS"})
    with pytest.raises(UserError, match="Dataset301_S301 for NibabelIOWithReorient, Dataset302_S302 for Tiff3DIO.*; write one"):
        merge(301, 302)
    assert not (raw / "Dataset400_M").exists()


@pytest.mark.parametrize("reader", [5, ["SimpleITKIO"], "os.system", "MyIO"])
def test_what_is_no_reader_of_nnunet_is_refused(raw, reader):
    make(raw, 301, reader, {"a1": "RAS"})
    with pytest.raises(UserError, match="dataset.json: `overwrite_image_reader_writer` names .*; give one of .*NibabelIO.*, or"):
        merge(301)
    assert not (raw / "Dataset400_M").exists()


def test_none_as_nnunet_writes_it_asks_for_no_reader(raw):
    make(raw, 301, "None", {"a1": "LPS"})
    make(raw, 302, "SimpleITKIO", {"b1": "LPS"})
    folder, messages = merge(301, 302, search_duplicates=False)
    assert any("(None, SimpleITKIO); they read the same voxels" in text for text in messages)
    assert "overwrite_image_reader_writer" not in as_nnunet_reads(folder)[0]


def test_an_image_that_lies_obliquely_is_read_where_it_lies(raw):
    folder = make(raw, 301, REORIENT, {"a1": "RAS"})
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_volume(folder / "imagesTr/a2_0000.nii.gz", array)
    write_volume(folder / "labelsTr/a2.nii.gz", (array > 11).astype(np.uint8))
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numTraining": 2}))
    make(raw, 302, None, {"b1": "LPS"})
    merged, _ = merge(301, 302, search_duplicates=False)
    image, seg = as_nnunet_reads(merged)[1]["a2"]
    np.testing.assert_array_equal(seg, image > 11)
    np.testing.assert_array_equal(image, NibabelIOWithReorient().read_images((str(folder / "imagesTr/a2_0000.nii.gz"),))[0][0])
