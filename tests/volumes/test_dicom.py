"""DICOM series: sorted, in HU, on a true grid, or refused by name. Every file is written here."""

import os
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.dicom import (
    PRESENTATION_STATE,
    REPORT,
    RT_STRUCTURE_SET,
    spoil_element,
    write_enhanced,
    write_localizers,
    write_object,
    write_screenshot,
)
from builders.replica_files import AFFINE, SHAPE, make_truth, write_dicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes.dicom import read_series

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORIGIN = np.diag([-1.0, -1.0, 1.0]) @ AFFINE[:3, 3]  # where `place` puts the first slice, LPS


def series_error(paths, modality="CT"):
    with pytest.raises(UserError) as caught:
        read_series(paths, modality)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def place(*offset):
    """A slice's position: in the usual place, moved by z times the offset (LPS, mm)."""
    return lambda z: [f"{value:.5f}" for value in ORIGIN + z * np.array(offset, float)]


def as_ras(series):
    """The voxels in the order of the volume that the series was written from."""
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(series.read(), series.grid.nifti_affine))


@pytest.fixture(scope="module")
def volume():
    return make_truth(["liver"], 3).image


# ---- geometry -----------------------------------------------------------------------------------------------------------


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


# ---- slices that differ ---------------------------------------------------------------------------------------------------


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


def test_values_that_are_not_hu_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, RescaleType="Z_EFF")
    assert "1-001.dcm: its values are Z_EFF, not HU" in series_error(paths)


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


# ---- values ---------------------------------------------------------------------------------------------------------------


def test_slope_and_intercept_of_each_slice_are_its_own(volume, tmp_path):
    """Also where the first slice has whole values and others have fractions, which the first one's type would lose."""
    stored = np.clip(volume, -1000, 1000)
    slope, intercept = (lambda z: 0.5 if z % 3 == 2 else 2), (lambda z: -1000 + z)
    paths = write_dicom(tmp_path, stored, slope=1, intercept=0, RescaleSlope=slope, RescaleIntercept=intercept)
    found = as_ras(read_series(paths))
    expected = np.stack([stored[..., z] * slope(z) + intercept(z) for z in range(SHAPE[2])], -1)
    assert found.get_data_dtype() == np.float32 and np.array_equal(found.dataobj, expected)


def test_slices_that_differ_in_range_are_kept_exactly(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, slope=1, intercept=0, RescaleIntercept=lambda z: 70000 if z == 4 else 0)
    found = np.asarray(as_ras(read_series(paths)).dataobj)
    assert found.dtype == np.int32 and np.array_equal(found[..., 4] - 70000, volume[..., 4])
    assert np.array_equal(found[..., 5:], volume[..., 5:])


def test_series_without_rescale_is_told(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, slope=1, intercept=0, RescaleIntercept=None, RescaleSlope=None)
    series = read_series(paths)
    assert series.notes == ("no RescaleIntercept in the DICOM headers, stored values taken as HU",)
    assert np.array_equal(as_ras(series).dataobj, volume)


def itk_compressed(compressor):
    def write(path):
        slices = sitk.ReadImage(str(path))
        image = sitk.Cast(slices[..., 0], sitk.sitkInt16)
        for key in slices.GetMetaDataKeys():
            image.SetMetaData(key, slices.GetMetaData(key))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.SetFileName(str(path))
        writer.Execute(image)

    return write


def stored_as(syntax):
    def write(path):
        file = pydicom.dcmread(path)
        if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
            file.compress(syntax)
        file.file_meta.TransferSyntaxUID = syntax
        file.save_as(path)

    return write


def without_mark(path):
    """As files were before DICOM had a file format: elements only."""
    file = pydicom.dcmread(path)
    bare = pydicom.Dataset(file)
    pydicom.dcmwrite(path, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"


@pytest.mark.parametrize(
    "store, syntax",
    [
        (itk_compressed("JPEG2000"), "JPEG 2000 Image Compression (Lossless Only)"),
        (itk_compressed("JPEG"), "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"),
        (stored_as(RLELossless), "RLE Lossless"),
        (stored_as(DeflatedExplicitVRLittleEndian), "Deflated Explicit VR Little Endian"),
        (stored_as(ImplicitVRLittleEndian), "Implicit VR Little Endian"),
        (without_mark, "Implicit VR Little Endian"),
    ],
    ids=["JPEG 2000", "JPEG lossless", "RLE", "deflated", "implicit", "no mark"],
)
def test_ways_of_storing_pixels_give_the_same_values(store, syntax, volume, tmp_path):
    paths = write_dicom(tmp_path, volume, slope=1, intercept=0)
    for path in paths:
        store(path)
    series = read_series(paths)
    assert {entry.stored_as for entry in series.slices} == {syntax}
    assert np.array_equal(as_ras(series).dataobj, volume)
    np.testing.assert_allclose(as_ras(series).affine, AFFINE, atol=1e-4)


def test_a_way_of_storing_that_gdcm_does_not_know_is_named(volume, tmp_path, capfd):
    paths = write_dicom(tmp_path, volume)
    file = pydicom.dcmread(paths[3])
    file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    file.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    file["PixelData"].is_undefined_length = True
    file.save_as(paths[3])
    with pytest.raises(UserError, match=r"1-015.dcm: its pixels \(High-Throughput JPEG 2000 .*\) cannot be read"):
        read_series(paths).read()


def test_a_torn_slice_is_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    paths[3].write_bytes(paths[3].read_bytes()[:-500])
    with pytest.raises(UserError, match=r"1-015.dcm ends within its pixels \(\d+ of 1248 bytes\); copy it again"):
        read_series(paths).read()


def test_a_slice_without_pixels_is_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    file = pydicom.dcmread(paths[3])
    del file.PixelData
    file.save_as(paths[3])
    assert series_error(paths) == f"{paths[3]} holds no pixels; copy it again"


@pytest.mark.parametrize("count", [1_000_000_000, 2])
def test_a_number_of_frames_that_cannot_be_is_refused(count, volume, tmp_path):
    paths = write_dicom(tmp_path, volume, NumberOfFrames=count)
    assert f"({count} frames in one file and no position for each; convert it to one file per slice)" in series_error(paths)
    frames = write_enhanced(tmp_path / "enhanced.dcm", write_dicom(tmp_path / "plain", volume))
    file = pydicom.dcmread(frames)
    file.NumberOfFrames = count
    file.save_as(frames)
    assert f"({count} frames, and {SHAPE[2]} places of frames)" in series_error([frames])


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    renamed = Path(os.fsdecode(os.fsencode(paths[3].parent) + b"/caf\xe9.dcm"))
    paths[3].rename(renamed)
    text = series_error([*paths[:3], renamed, *paths[4:]])
    assert text.isascii() and "caf\\udce9.dcm': the name holds bytes that are no UTF-8; rename it" in text


@pytest.mark.parametrize("content", [b"", b"no image", b"\0" * 128 + b"DICM" + b"\x08\0\x16\0ZZ\xff\xff"])
def test_a_file_that_is_no_dicom_is_refused(content, volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    paths[3].write_bytes(content)
    told = "Unknown Value Representation 'ZZ'" if b"DICM" in content else "it does not begin as DICOM does"
    assert f"{paths[3]} is no whole DICOM file; take it out of the series' folder or copy it again ({told}" in series_error(paths)


@pytest.mark.parametrize("name", ["RescaleSlope", "Rows"])
def test_an_element_that_cannot_be_read_is_no_missing_one(name, volume, tmp_path):
    """A slope that is damaged would else be taken for 1."""
    paths = write_dicom(tmp_path, volume)
    spoil_element(paths[3], name)
    text = series_error(paths)
    assert re.search(rf"{paths[3].name} has no usable geometry or scale of values in its header \({name}: .*\)", text), text


def test_a_file_that_is_gone_is_named(volume, tmp_path):
    assert "gone.dcm: cannot be read (No such file" in series_error([*write_dicom(tmp_path, volume), tmp_path / "gone.dcm"])


# ---- several frames in a file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [(), ("orientation", "spacing", "rescale")])
def test_multi_frame_ct_is_a_series(shared, volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    order = [(7 * index) % SHAPE[2] for index in range(SHAPE[2])]  # frames in no order of their positions
    series = read_series([write_enhanced(tmp_path / "enhanced.dcm", paths, order, shared=shared)])
    assert np.array_equal(as_ras(series).dataobj, volume) and series.notes == ()
    np.testing.assert_allclose(as_ras(series).affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("sop_class", [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage, EnhancedMRImageStorage])
def test_frames_have_their_own_slope_and_intercept(sop_class, volume, tmp_path):
    paths = write_dicom(tmp_path, np.clip(volume, -1000, 1000), slope=1, intercept=0, top_first=False)
    rescale = [(0.5 if z % 3 == 0 else 2, z - 1000) for z in range(SHAPE[2])]
    found = as_ras(read_series([write_enhanced(tmp_path / "enhanced.dcm", paths, rescale=rescale, sop_class=sop_class)])).dataobj
    expected = np.stack([np.clip(volume, -1000, 1000)[..., z] * slope + more for z, (slope, more) in enumerate(rescale)], -1)
    assert np.array_equal(found, expected)


def test_a_missing_frame_is_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume)
    path = write_enhanced(tmp_path / "enhanced.dcm", paths[:5] + paths[6:])
    assert f"1 slice missing between {path} and {path} (5.00 mm apart" in series_error([path])


# ---- what lies beside slices --------------------------------------------------------------------------------------------------


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
