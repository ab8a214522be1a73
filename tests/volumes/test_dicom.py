"""DICOM series: sorted and on a true grid, or refused by name, whatever lies beside its slices. Every file is written here."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.dicom import (
    PRESENTATION_STATE,
    REPORT,
    RT_STRUCTURE_SET,
    as_ras,
    series_error,
    write_localizers,
    write_object,
    write_screenshot,
)
from builders.replica_files import AFFINE, SHAPE, write_dicom

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import read_series

ORIGIN = np.diag([-1.0, -1.0, 1.0]) @ AFFINE[:3, 3]  # where `place` puts the first slice, LPS


def place(*offset):
    """A slice's position: in the usual place, moved by z times the offset (LPS, mm)."""
    return lambda z: [f"{value:.5f}" for value in ORIGIN + z * np.array(offset, float)]


# ---- geometry ------------------------------------------------------------------------------------------------------------


def test_slices_are_sorted_and_have_their_place(volume, tmp_path):
    series = read_series(write_dicom(tmp_path, volume))
    found = as_ras(series)
    assert np.array_equal(found.dataobj, volume) and found.get_data_dtype() == np.int16 and series.notes == ()
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    image = series.image()
    assert image.GetSize() == SHAPE and np.array_equal(sitk.GetArrayFromImage(image), series.read().T)
    for index in (0, 11):  # the header of each slice, against the place of its first voxel
        expected = series.slices[index].position
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((0, 0, index)), expected, atol=1e-4)


def test_oblique_series_keeps_its_geometry(volume, tmp_path):
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]]
    series = read_series(write_dicom(tmp_path, volume, affine=turn @ AFFINE))
    assert not series.drift.any()
    np.testing.assert_allclose(as_ras(series).affine, turn @ AFFINE, atol=1e-3)


@pytest.mark.parametrize(
    "columns, step",
    [
        ((0, np.cos(0.3), -np.sin(0.3)), (0, 0, 2.5)),  # a tilted gantry: the table moves along the body, slices are turned
        ((0, np.cos(0.3), np.sin(0.3)), (0, 0, 2.5)),
        ((0, 1, 0), (0.3, -0.5, 2.5)),
    ],
)
def test_slices_of_a_tilted_gantry_are_moved_to_where_they_belong(columns, step, tmp_path):
    """Every voxel holds what is at its place: the HU here are a linear function of the place, which interpolation keeps."""
    rows, columns, step = np.array([1.0, 0, 0]), np.array(columns), np.array(step)
    x, y, z = np.indices(SHAPE)
    points = ORIGIN[:, None, None, None] + sum(
        vector[:, None, None, None] * index for vector, index in ((0.8 * rows, x), (0.9 * columns, y), (step, z))
    )
    content = lambda p: 20 * p[0] - 15 * p[1] + 5 * p[2]
    lps = np.rint(content(points)).astype(np.int16)
    orientation = [f"{value:.6f}" for value in (*rows, *columns)]
    paths = write_dicom(tmp_path, np.flip(lps, (0, 1)), ImagePositionPatient=place(*step), ImageOrientationPatient=orientation)
    series = read_series(paths)
    normal = np.cross(rows, columns)
    angle = np.degrees(np.arccos(step @ normal / np.linalg.norm(step)))
    assert series.tilt_degrees == pytest.approx(angle, abs=0.01) and np.array_equal(series.read(), lps)

    image = series.image()
    np.testing.assert_allclose(image.GetSpacing(), (0.8, 0.9, step @ normal), atol=1e-4)
    np.testing.assert_allclose(np.array(image.GetDirection()).reshape(3, 3), np.stack([rows, columns, normal], 1), atol=1e-5)
    assert image.GetSize()[2] == SHAPE[2] and image.GetPixelID() == sitk.sitkInt16
    # Every voxel of the series is in the grid, and holds what it held.
    worst = 0
    for index in np.ndindex(*(size - 1 for size in SHAPE)):
        if index[0] and index[1]:
            at = image.TransformPhysicalPointToContinuousIndex(points[(slice(None), *index)].tolist())
            inside = tuple(int(value) for value in np.floor(at[:2])) + (round(at[2]),)
            place_mm = np.array(image.TransformIndexToPhysicalPoint(inside))
            worst = max(worst, abs(image[inside] - content(place_mm)))
    assert worst < 1.6  # HU; rounded twice
    array = sitk.GetArrayFromImage(image)
    assert (array == lps.min()).sum() > (lps == lps.min()).sum()  # filled outside


def test_slices_that_wander_less_than_half_a_pixel_are_not_tilted(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, ImagePositionPatient=place(0, 0.02, 2.5))  # 0.34 mm in all
    assert not read_series(paths).drift.any()
    paths = write_dicom(tmp_path, volume, ImagePositionPatient=place(0, 0.03, 2.5))  # 0.51 mm, pixels have 0.8
    assert read_series(paths).tilt_degrees == pytest.approx(0.69, abs=0.01)


def test_missing_slices_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    text = series_error(paths[:5] + paths[7:])
    assert f"2 slices missing between {paths[4]} and {paths[7]} (7.50 mm apart, usually 2.50 mm)" in text


def test_uneven_slices_are_refused(volume, tmp_path):
    position = lambda z: [*ORIGIN[:2], ORIGIN[2] + 2.5 * z + (0.4 if z == 9 else 0)]
    paths = write_dicom(tmp_path, volume, ImagePositionPatient=position)
    assert "2.900 mm apart, the other slices 2.500 mm; uneven distances" in series_error(paths)


def test_distances_that_sum_up_are_refused(volume, tmp_path):
    """No gap is far from the usual one, but slices lie up to 0.4 mm from a regular grid."""
    position = lambda z: [*ORIGIN[:2], ORIGIN[2] + 2.5 * z + 0.1 * max(0, z - 9)]
    assert "uneven distances" in series_error(write_dicom(tmp_path, volume, ImagePositionPatient=position))


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(volume, tmp_path):
    position = lambda z: [*ORIGIN[:2], round(ORIGIN[2] + 0.625 * z, 1)]
    series = read_series(write_dicom(tmp_path, volume, ImagePositionPatient=position))
    assert series.grid.spacing[2] == pytest.approx(0.625, abs=0.01)


def test_a_slice_beside_the_others_is_refused(volume, tmp_path):
    position = lambda z: [ORIGIN[0] + (1.5 if z == 9 else 0), ORIGIN[1], ORIGIN[2] + 2.5 * z]
    assert "lies 1.50 mm beside the other slices" in series_error(write_dicom(tmp_path, volume, ImagePositionPatient=position))


def test_slices_beside_each_other_are_refused(volume, tmp_path):
    position = lambda z: [ORIGIN[0] + 30 * (z % 2), ORIGIN[1], ORIGIN[2] + 2.5 * (z // 2)]
    assert "lie in one plane, beside each other" in series_error(write_dicom(tmp_path, volume, ImagePositionPatient=position))


# ---- slices that differ --------------------------------------------------------------------------------------------------


def test_a_copy_of_a_slice_is_left_out(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    shutil.copy(paths[4], tmp_path / "again.dcm")
    series = read_series([*paths, tmp_path / "again.dcm"])
    assert series.notes == ("1 copy of slices left out",) and np.array_equal(as_ras(series).dataobj, volume)


def test_different_slices_at_one_position_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    again = pydicom.dcmread(paths[4])
    again.RescaleIntercept = -1023
    again.save_as(tmp_path / "phase2.dcm")
    text = series_error([*paths, tmp_path / "phase2.dcm"])
    assert f"{paths[4]} and {tmp_path / 'phase2.dcm'} are different slices at one position (several phases" in text


def test_mixed_series_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, SeriesNumber=4, SeriesDescription="Thorax")
    paths += write_dicom(tmp_path, volume, names="2-{:03d}.dcm")
    text = series_error(paths)
    assert "two series mixed in one folder" in text and "series 4 'Thorax' (18 files)" in text


def test_slices_of_another_orientation_are_refused(volume, tmp_path):
    turned = lambda z: [1, 0, 0, 0, 0, -1] if z == 3 else [1, 0, 0, 0, 1, 0]
    assert "differ in orientation" in series_error(write_dicom(tmp_path, volume, ImageOrientationPatient=turned))


def test_differing_pixel_spacing_is_refused(volume, tmp_path):
    spacing = lambda z: [0.9, 0.7 if z == 3 else 0.8]
    assert "differ in size or pixel spacing" in series_error(write_dicom(tmp_path, volume, PixelSpacing=spacing))


def test_another_modality_is_refused_unless_any_will_do(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, Modality="MR")
    assert series_error(paths).endswith("no CT slices; there are 18 x CT Image of modality MR")
    assert np.array_equal(as_ras(read_series(paths, None)).dataobj, volume)


@pytest.mark.parametrize(
    "tags, reason",
    [
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing or incomplete"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "rows and columns are not perpendicular"),
        ({"PixelSpacing": [0, 0.8]}, r"pixel spacing \[0.8, 0.0\]"),
        ({"RescaleSlope": 0}, "RescaleSlope 0, RescaleIntercept "),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1, dark for high values; store it as MONOCHROME2"),
        ({"NumberOfFrames": 10**9}, "1000000000 frames in one file and no position for each"),
        ({"NumberOfFrames": 2}, "2 frames in one file and no position for each; convert it to one file per slice"),
    ],
)
def test_a_slice_without_place_or_scale_is_refused(tags, reason, volume, tmp_path):
    with pytest.raises(UserError, match=rf"1-001.dcm has no usable geometry or scale of values in its header \({reason}"):
        read_series(write_dicom(tmp_path, volume, **tags))


def test_a_single_slice_is_refused(volume, tmp_path):
    assert "is the only slice of its series" in series_error(write_dicom(tmp_path, volume)[:1])


def test_no_file_at_all_is_refused():
    assert series_error([]) == "no files: no CT slices; there are no files"


# ---- what lies beside slices ---------------------------------------------------------------------------------------------


def test_objects_localizers_and_screenshots_are_passed_over(volume, tmp_path):
    paths = write_dicom(tmp_path, volume) + write_localizers(tmp_path, volume)
    paths.append(write_object(tmp_path / "rs.dcm", RT_STRUCTURE_SET, "RTSTRUCT"))
    paths.append(write_object(tmp_path / "ps.dcm", PRESENTATION_STATE, "PR"))
    paths.append(write_object(tmp_path / "sr.dcm", REPORT, "SR"))
    paths.append(write_screenshot(tmp_path / "dose.dcm"))
    paths += write_dicom(tmp_path, volume[:, :, :1], names="rgb.dcm", SamplesPerPixel=3)
    (tmp_path / "viewer.exe").write_bytes(b"MZ")
    series = read_series([*paths, tmp_path / "viewer.exe"])
    assert np.array_equal(as_ras(series).dataobj, volume)
    (note,) = series.notes
    assert note == (
        "passed over: 1 x Basic Text SR, 1 x CT Image in colour, 1 x Grayscale Softcopy Presentation State, "
        "1 x RT Structure Set, 1 x Secondary Capture Image, 2 x localizer, viewer.exe, no DICOM"
    )


def test_localizers_alone_are_no_series(volume, tmp_path):
    assert series_error(write_localizers(tmp_path, volume)).endswith("no CT slices; there are 2 x localizer")
