"""DICOM series and label slices: sorted, in HU, or refused by name."""

import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image
from replica_files import AFFINE, SHAPE, make_truth, write_dicom
from tiny_conversion import declare, output, reason, run

from nnunetv2_cdpd.conversion.dicom import read_series
from nnunetv2_cdpd.errors import UserError


def series_error(paths):
    with pytest.raises(UserError) as caught:
        read_series(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def volume():
    return make_truth(["liver"], 3).image


def test_fractions_of_hu_in_dicom_are_kept(volume, tmp_path):
    series = read_series(write_dicom(tmp_path, volume, slope=0.5))
    assert np.array_equal(np.flip(series.read(), (0, 1)), volume)


def test_oblique_series_keeps_its_geometry(volume, tmp_path):
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]]
    series = read_series(write_dicom(tmp_path, volume, affine=turn @ AFFINE))
    lps = series.grid.affine
    np.testing.assert_allclose(nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, lps)).affine, turn @ AFFINE, atol=1e-3)


def test_gantry_tilt_is_refused(volume, tmp_path):
    lps = np.diag([-1, -1, 1]) @ AFFINE[:3, 3]
    tilted = lambda z: [f"{v:.4f}" for v in (lps[0], lps[1] + z * 0.5, lps[2] + z * 2.5)]  # noqa: E731
    text = series_error(write_dicom(tmp_path, volume, ImagePositionPatient=tilted))
    assert "gantry tilt of 11.3 degrees" in text and ".dcm" in text


def test_missing_slices_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    text = series_error(paths[:5] + paths[7:])
    assert f"2 slices missing between {paths[4]} and {paths[7]} (7.50 mm apart, usually 2.50 mm)" in text


def test_duplicate_slices_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    shutil.copy(paths[4], tmp_path / "again.dcm")
    text = series_error([*paths, tmp_path / "again.dcm"])
    assert "duplicate slices" in text and "again.dcm" in text and paths[4].name in text


def test_mixed_series_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume) + write_dicom(tmp_path, volume, names="2-{:03d}.dcm")
    assert "two series mixed in one folder" in series_error(paths)


def test_another_modality_is_refused(volume, tmp_path):
    assert "is not CT (modality MR)" in series_error(write_dicom(tmp_path, volume, Modality="MR"))


def test_a_localizer_is_refused(volume, tmp_path):
    turned = lambda z: [1, 0, 0, 0, 0, -1] if z == 3 else [1, 0, 0, 0, 1, 0]  # noqa: E731
    assert "differ in orientation" in series_error(write_dicom(tmp_path, volume, ImageOrientationPatient=turned))


def test_differing_pixel_spacing_is_refused(volume, tmp_path):
    spacing = lambda z: [0.9, 0.7 if z == 3 else 0.8]  # noqa: E731
    assert "differ in size or pixel spacing" in series_error(write_dicom(tmp_path, volume, PixelSpacing=spacing))


def test_uneven_slices_are_refused(volume, tmp_path):
    lps = np.diag([-1, -1, 1]) @ AFFINE[:3, 3]
    position = lambda z: [lps[0], lps[1], lps[2] + 2.5 * z + (0.4 if z == 9 else 0)]  # noqa: E731
    assert "2.900 mm apart, the other slices 2.500 mm" in series_error(
        write_dicom(tmp_path, volume, ImagePositionPatient=position)
    )


def test_a_slice_beside_the_others_is_refused(volume, tmp_path):
    lps = np.diag([-1, -1, 1]) @ AFFINE[:3, 3]
    position = lambda z: [lps[0] + (1.5 if z == 9 else 0), lps[1], lps[2] + 2.5 * z]  # noqa: E731
    assert "lies 1.50 mm beside the other slices" in series_error(write_dicom(tmp_path, volume, ImagePositionPatient=position))


def test_a_slice_without_position_is_refused(volume, tmp_path):
    text = series_error(write_dicom(tmp_path, volume, ImagePositionPatient=None))
    assert "has no position, orientation or spacing in its header (tag 0020,0032 is missing" in text


def test_a_file_that_is_no_dicom_is_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    paths[3].write_text("no image")
    assert f"{paths[3]} is no whole DICOM image" in series_error(paths)


def test_a_torn_slice_is_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    paths[3].write_bytes(paths[3].read_bytes()[:-500])
    assert f"{paths[3]} is no whole DICOM image" in series_error(paths)


def test_a_slice_whose_pixels_cannot_be_decoded_is_refused(volume, tmp_path, monkeypatch):
    series = read_series(write_dicom(tmp_path, volume))

    def fail(path):
        raise RuntimeError("no decoder for this transfer syntax")

    monkeypatch.setattr("nnunetv2_cdpd.conversion.dicom.sitk.ReadImage", fail)
    with pytest.raises(UserError, match="1-018.dcm: its pixels cannot be read"):
        series.read()


def test_a_file_of_several_frames_is_refused(volume, tmp_path):
    frames = {"NumberOfFrames": 2, "PixelData": lambda z: bytes(2 * 2 * SHAPE[0] * SHAPE[1])}
    text = series_error(write_dicom(tmp_path, volume, **frames))
    assert "holds 2 frames in one file; convert it to one file per slice" in text


def test_a_single_slice_is_refused(volume, tmp_path):
    assert "is the only slice of its series" in series_error(write_dicom(tmp_path, volume)[:1])


def test_series_without_rescale_is_told(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, slope=1, intercept=0, RescaleIntercept=None, RescaleSlope=None)
    assert "taken as HU" in read_series(paths).note
    assert np.array_equal(np.flip(read_series(paths).read(), (0, 1)), volume)


# ---- label slices -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sliced(tmp_path, nnunet_folders):
    truth = make_truth(["liver"], 5)
    write_dicom(tmp_path / "img/c1", truth.image, top_first=False)
    (tmp_path / "lab/c1").mkdir(parents=True)
    for z in range(SHAPE[2]):
        picture = np.flip(truth.masks["liver"][:, :, z], (0, 1)).T.astype(np.uint8) * 255
        Image.fromarray(picture).save(tmp_path / f"lab/c1/{z:03d}.png")
    dataset = declare(images=("img/{case}",), labels=("lab/{case}",), dicom=True, slices=True, values={1: "liver"})
    return tmp_path, dataset, truth


def test_label_slices_land_on_the_image(sliced):
    folder, dataset, truth = sliced
    assert run(folder, dataset).complete
    label = nibabel.as_closest_canonical(nibabel.load(output(folder)))
    assert np.array_equal(np.asanyarray(label.dataobj), truth.masks["liver"])


def test_too_few_label_slices_are_refused(sliced):
    folder, dataset, _ = sliced
    (folder / "lab/c1/004.png").unlink()
    assert "lab/c1 holds 17 label slices, its image has 18" in reason(folder, dataset)


def test_damaged_label_slice_is_refused(sliced):
    folder, dataset, _ = sliced
    (folder / "lab/c1/004.png").write_bytes(b"\x89PNG")
    assert "lab/c1/004.png cannot be read as an image" in reason(folder, dataset)


def test_label_slice_of_another_size_is_refused(sliced):
    folder, dataset, _ = sliced
    Image.fromarray(np.zeros((24, 25), np.uint8)).save(folder / "lab/c1/004.png")
    assert "lab/c1/004.png has another size than the first slice" in reason(folder, dataset)


def test_label_slices_of_another_size_than_the_image_are_refused(sliced):
    folder, dataset, _ = sliced
    for z in range(SHAPE[2]):
        Image.fromarray(np.zeros((24, 25), np.uint8)).save(folder / f"lab/c1/{z:03d}.png")
    assert "label slices of (25, 24), image of (26, 24)" in reason(folder, dataset)
