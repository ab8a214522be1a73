"""Slices: which axis, which slices, which values, and that what is read alone is what was cut."""

import json

import numpy as np
import pytest
from builders import dataset as tiny_dataset
from builders.pretraining import write_ct, write_cts

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pretraining.images import A_FOLDER, ct_images
from nnunetv2_cdpd.pretraining.slices import SliceFile, Slices, cut, cut_all, read_ahead, slice_axis, with_a_body


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((3.0, 1.1, 0.9), 0), ((2.5, 3.9, 3.9), 1), ((1.0, 1.0, 2.0), 2), ((1.0, 1.0, 1.0), 0), ((0.99999, 1.0, 1.0), 0)],
)
def test_slices_run_along_the_largest_spacing_the_first_where_they_are_alike(spacing, axis):
    assert slice_axis(spacing) == axis


def test_slices_of_air_are_passed_over_and_the_others_spread_evenly():
    slices = np.full((12, 10, 10), -1000.0)
    slices[2:12, :1, :5] = 40  # 5 of 100 voxels
    slices[5, 0, 0] = -1000  # 4 of 100: nearly all air
    slices += np.arange(12)[:, None, None]  # to know them by
    assert with_a_body(slices, 100)[:, 9, 9].tolist() == [-1000 + number for number in (2, 3, 4, 6, 7, 8, 9, 10, 11)]
    assert with_a_body(slices, 3)[:, 9, 9].tolist() == [-1000 + number for number in (2, 6, 9)]
    assert not len(with_a_body(slices - 2000, 3))


@pytest.fixture
def images(tmp_path):
    return ct_images([], [write_cts(tmp_path / "cts")], lambda line: None)


def files_of(images, folder, at_most=100, clip_hu=(-282, 357)):
    folder.mkdir(exist_ok=True)
    return {name: SliceFile(image, folder, clip_hu, at_most) for name, image in images.items()}


def test_what_is_read_is_what_the_image_shows_between_the_limits(images, tmp_path):
    import SimpleITK as sitk

    files = files_of(images, tmp_path / "slices")
    assert not cut_all(files, 1, progress=False).failed
    slices = Slices(list(files.values()))
    assert len(slices) == 15  # 5 of each, the others being air
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "cts" / "scan_1.nii.gz")))
    (first, last) = slices.read([5, 9])
    assert np.array_equal(first.numpy(), array[2].clip(-282, 357)) and np.array_equal(last.numpy(), array[6].clip(-282, 357))
    assert slices.images_of() == {A_FOLDER: (3, 15)}


def test_slices_run_along_the_axis_of_an_image_of_its_own(tmp_path):
    write_cts(tmp_path / "cts", 0)
    write_ct(tmp_path / "cts" / "sagittal.nii.gz", 0, spacing=(4.0, 1.0, 1.0))  # x
    files = files_of(ct_images([], [tmp_path / "cts"], print), tmp_path / "slices")
    cut_all(files, 1, progress=False)
    (image,) = Slices(list(files.values())).read([0])
    assert image.shape == (9, 20)


def test_an_image_is_read_once(images, tmp_path):
    files = files_of(images, tmp_path / "slices")
    assert len(cut_all(files, 1, progress=False).done) == 3
    assert len(cut_all(files_of(images, tmp_path / "slices"), 1, progress=False).before) == 3
    assert len(cut_all(files_of(images, tmp_path / "slices", at_most=2), 1, progress=False).done) == 3


def test_threads_read_ahead_in_order(images, tmp_path):
    files = files_of(images, tmp_path / "slices")
    cut_all(files, 1, progress=False)
    slices = Slices(list(files.values()))
    batches = list(read_ahead(slices, range(2, 9), lambda iteration: [iteration, 14 - iteration]))
    assert len(batches) == 7
    for iteration, batch in enumerate(batches, start=2):
        expected = slices.read([iteration, 14 - iteration])
        assert all(np.array_equal(one, other) for one, other in zip(batch, expected, strict=True))


def test_image_of_air_alone_is_refused(tmp_path):
    write_cts(tmp_path / "cts", 0)
    write_ct(tmp_path / "cts" / "air.nii.gz", 0, shape=(4, 20, 24))
    (file,) = files_of(ct_images([], [tmp_path / "cts"], print), tmp_path / "slices").values()
    with pytest.raises(UserError, match="air.nii.gz: all slices are nearly all air; is it a CT in HU"):
        cut(file)


def test_torn_file_of_slices_is_named(images, tmp_path):
    files = files_of(images, tmp_path / "slices")
    cut_all(files, 1, progress=False)
    torn = next(iter(files.values())).output
    torn.write_bytes(torn.read_bytes()[:20])
    with pytest.raises(UserError, match=f"{torn.name}: slices that cannot be read .*remove it"):
        Slices(list(files.values()))


# ---- which images ----------------------------------------------------------------------------------------------------


def test_images_of_a_dataset_need_no_labels(raw):
    folder = tiny_dataset.write_raw_dataset(raw, "Dataset811_Liver", num_cases=2)
    (folder / "labelsTr" / "811_01.nii.gz").unlink()
    images = ct_images(["811"], [], print)
    assert list(images) == ["Dataset811_Liver/811_00", "Dataset811_Liver/811_01"]
    assert {image.data for image in images.values()} == {"Dataset811_Liver"}


def test_the_channel_of_ct_is_taken(raw):
    folder = tiny_dataset.write_raw_dataset(raw, "Dataset811_Liver", num_cases=1)
    content = json.loads((folder / "dataset.json").read_text())
    image = folder / "imagesTr" / "811_00_0000.nii.gz"
    image.rename(image.with_name("811_00_0001.nii.gz"))
    write_ct(image, 0)
    (folder / "dataset.json").write_text(json.dumps({**content, "channel_names": {"0": "PET", "1": "CT"}}))
    (image,) = ct_images(["811"], [], print).values()
    assert [file.name for file in image.case.files] == ["811_00_0001.nii.gz"] and image.channel == 0


def test_dataset_without_ct_is_refused(raw):
    folder = tiny_dataset.write_raw_dataset(raw, "Dataset811_Liver", num_cases=1)
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "channel_names": {"0": "T1"}}))
    with pytest.raises(UserError, match="no channel is CT, but T1; give a dataset of CTs"):
        ct_images(["811"], [], print)


def test_no_images_at_all_are_refused(tmp_path):
    with pytest.raises(UserError, match="no images; give argument datasets or argument folders"):
        ct_images([], [], print)
    with pytest.raises(UserError, match="no image in it"):
        ct_images([], [write_cts(tmp_path / "cts", 0)], print)
