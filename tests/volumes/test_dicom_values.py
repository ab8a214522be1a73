"""Values of a DICOM series: HU however they are stored, in one file or many; a file that is torn or none is named."""

import os
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.dicom import as_ras, series_error, spoil_element, write_enhanced
from builders.replica_files import AFFINE, SHAPE, write_dicom
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


@pytest.mark.parametrize("names", [("RescaleIntercept", "RescaleSlope"), ("RescaleIntercept",)])
def test_slices_without_rescale_among_others_are_refused(names, volume, tmp_path):
    """They would be off by the intercept of the others."""
    paths = write_dicom(tmp_path, volume)
    for path in paths[3:5]:
        file = pydicom.dcmread(path)
        for name in names:
            delattr(file, name)
        file.save_as(path)
    told = f"has no RescaleIntercept, other slices of its series have (2 of {SHAPE[2]} lack it); export the series again"
    assert series_error(paths) == f"{paths[4]} {told}"  # the first by name


def test_values_that_are_not_hu_are_refused(volume, tmp_path):
    paths = write_dicom(tmp_path, volume, RescaleType="Z_EFF")
    assert "1-001.dcm: its values are Z_EFF, not HU" in series_error(paths)


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


# ---- several frames in a file --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("count", [1_000_000_000, 2])
def test_a_number_of_frames_that_cannot_be_is_refused(count, volume, tmp_path):
    paths = write_dicom(tmp_path, volume, NumberOfFrames=count)
    assert f"({count} frames in one file and no position for each; convert it to one file per slice)" in series_error(paths)
    frames = write_enhanced(tmp_path / "enhanced.dcm", write_dicom(tmp_path / "plain", volume))
    file = pydicom.dcmread(frames)
    file.NumberOfFrames = count
    file.save_as(frames)
    assert f"({count} frames, and {SHAPE[2]} places of frames)" in series_error([frames])


# ---- files that are torn or none -----------------------------------------------------------------------------------------


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
