"""Slices of real scanners, as pydicom ships them, among them encodings that nothing here can write."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.inference.inputs import find_image_cases
from nnunetv2_cdpd.volumes.dicom import read_series


def sample(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom comes without {name}")
    return Path(path)


@pytest.mark.parametrize(
    "name, syntax",
    [
        ("MR_small_jpeg_ls_lossless.dcm", "JPEG-LS Lossless Image Compression"),
        ("MR_small_jp2klossless.dcm", "JPEG 2000 Image Compression (Lossless Only)"),
        ("MR_small_RLE.dcm", "RLE Lossless"),
        ("MR_small_bigendian.dcm", "Explicit VR Big Endian"),
        ("MR_small_implicit.dcm", "Implicit VR Little Endian"),
    ],
)
def test_the_same_slice_in_another_encoding_has_the_same_values(name, syntax, tmp_path):
    """The plain slice, and the encoded one moved to lie beside it: a series of two slices that are alike."""
    plain = pydicom.dcmread(sample("MR_small.dcm"))
    plain.ImagePositionPatient = [0, 0, 0]
    row, column = np.array(plain.ImageOrientationPatient, float).reshape(2, 3)
    encoded = pydicom.dcmread(sample(name))
    encoded.SeriesInstanceUID = plain.SeriesInstanceUID
    encoded.ImagePositionPatient = [f"{value:.6f}" for value in 2 * np.cross(row, column)]
    plain.save_as(tmp_path / "a.dcm")
    encoded.save_as(tmp_path / "b.dcm")
    series = read_series([tmp_path / "b.dcm", tmp_path / "a.dcm"], "MR")
    assert series.slices[1].stored_as == syntax and series.spacing[2] == pytest.approx(2)
    volume = series.read()
    assert volume.std() > 100 and np.array_equal(volume[..., 0], volume[..., 1])
    assert np.array_equal(volume[..., 0].T, plain.pixel_array)


def test_a_disc_of_several_patients(tmp_path):
    """CT with slices left out by those who made the samples, a whole CT, localizers, radiographs, MR."""
    disc = sample("dicomdirtests/98892001/CT5N/2062").parents[2]
    told = []
    cases = {case.identifier: case for case in find_image_cases(disc, ".nii.gz", 1, "CT", told.append)}
    assert sorted(cases) == ["77654033_CT2", "98892001_CT5N"]
    assert f"{disc / '98892001' / 'CT2N'}: passed over: 2 x localizer" in told
    assert f"{disc / '77654033' / 'CR1'}: passed over: 1 x Computed Radiography Image of modality CR" in told
    with pytest.raises(UserError, match="161 slices missing between .*17106 and .*17136"):
        read_series(cases["77654033_CT2"].files)
    series = read_series(cases["98892001_CT5N"].files)
    assert series.shape == (16, 16, 5) and series.notes == ()
    np.testing.assert_allclose(series.spacing, (0.488281, 0.488281, 2.5), atol=1e-5)
