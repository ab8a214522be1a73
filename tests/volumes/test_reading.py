"""Reading: a file is read whole and as it is meant, by whichever reader of nnU-Net, or it is refused by name."""

import gzip
import os
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from builders.nifti import SHAPE, SPACING, cut, spoil, write
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from PIL import Image

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.volumes import whole
from nnunetv2_cdpd.volumes.grid import Grid
from nnunetv2_cdpd.volumes.reading import CheckedReader, read_sitk, told_notes


def hole(path, at, length=40):
    content = bytearray(path.read_bytes())
    start = int(len(content) * at)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_what_is_whole_is_read_as_nnunet_reads_it(tmp_path, voxels, reader, ending):
    path = write(tmp_path / f"a{ending}", voxels)
    array, properties = reader.read_images([path])
    expected, its = reader.reader.read_images([str(path)])
    assert np.array_equal(array, expected) and array.dtype == np.float32
    assert properties["spacing"] == its["spacing"]
    assert Grid.of_properties(array.shape[1:], properties).affine == pytest.approx(
        Grid.of_properties(expected.shape[1:], its).affine
    )


@pytest.mark.parametrize(
    "ending, share", [(".nii.gz", 0.5), (".nii.gz", 0.99), (".nii.gz", 0.02), (".nii", 0.5), (".nii", 0.999)]
)
def test_a_torn_file_is_refused(tmp_path, voxels, reader, ending, share):
    path = write(tmp_path / f"a{ending}", voxels)
    cut(path, share)
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} (is damaged|cannot be read as NIfTI)"):
        reader.read_images([path])


def test_a_hole_in_a_compressed_file_is_refused(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    hole(path, 0.6)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} is damaged"):
        reader.read_images([path])


def test_a_well_packed_label_is_checked_too(tmp_path, reader):
    label = np.zeros((60, 60, 60), np.uint8)
    label[10:20] = 1
    path = write(tmp_path / "a.nii.gz", label)
    content = path.read_bytes()
    for spoiled in (content[:-1], content[:-8], content[:-8] + b"\1\2\3\4" + content[-4:]):
        path.write_bytes(spoiled)
        with pytest.raises(UserError, match="is damaged"):
            reader.read_seg(path)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg"])
def test_packed_pictures_are_read_whole_or_refused(tmp_path, name):
    array = np.zeros((48, 64), np.uint8)
    array[8:24, 16:40] = 200
    path = tmp_path / name
    Image.fromarray(array).save(path)
    assert path.stat().st_size < array.size or name == "a.bmp"
    read = sitk.GetArrayFromImage(read_sitk(path))
    assert np.allclose(read if read.ndim == 2 else read[..., 0], array, atol=8 if name == "a.jpg" else 0)
    content = path.read_bytes()
    for share in (0.3, 0.7):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=f"{re.escape(str(path))} is damaged"):
            read_sitk(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_files_are_read_whole_or_refused(tmp_path, voxels, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, voxels, compression=compression)
    assert np.array_equal(sitk.GetArrayFromImage(read_sitk(path)), voxels)
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=re.escape(str(path))):
            read_sitk(path)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.gipl"])
@pytest.mark.parametrize("compressed", [False, True])
def test_other_formats_are_read_whole_or_refused(tmp_path, voxels, name, compressed):
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    path = tmp_path / name
    sitk.WriteImage(image, str(path), compressed)
    assert np.array_equal(sitk.GetArrayFromImage(read_sitk(path)), voxels.transpose(2, 1, 0))
    holds_voxels = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    content = holds_voxels.read_bytes()
    for share in (0.5, 0.95):
        holds_voxels.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=re.escape(str(tmp_path))):
            read_sitk(path)
    if compressed and name != "a.gipl":
        holds_voxels.write_bytes(content)
        hole(holds_voxels, 0.6)
        with pytest.raises(UserError, match=f"{re.escape(str(holds_voxels))} is damaged"):
            read_sitk(path)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_values_that_are_no_numbers_are_refused(tmp_path, voxels, reader, value, ending):
    array = voxels.astype(np.float64)
    array[3, 4, 5] = value
    path = write(tmp_path / f"a{ending}", array)
    for read in (lambda: reader.read_images([path]), lambda: reader.read_seg(path), lambda: read_sitk(path)):
        with pytest.raises(UserError, match=rf"a{ending} holds values that are no numbers \(nan or infinite\)"):
            read()


@pytest.mark.parametrize(
    "dtype, what", [(np.complex64, "complex64 values"), ([("R", "u1"), ("G", "u1"), ("B", "u1")], "colours")]
)
def test_what_is_no_number_per_voxel_is_refused(tmp_path, reader, dtype, what):
    path = write(tmp_path / "a.nii.gz", np.zeros(SHAPE, dtype))
    with pytest.raises(UserError, match=f"a.nii.gz holds {what}, not plain numbers"):
        reader.read_images([path])


def test_no_voxel_no_file_and_a_claim_of_too_many(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    spoil(path, lambda content: content.__setitem__(slice(42, 48), struct.pack("<3h", 30000, 30000, 30000)))
    with pytest.raises(UserError, match="a.nii.gz is damaged .* bytes are missing"):
        reader.read_images([path])
    spoil(path, lambda content: content.__setitem__(slice(42, 48), struct.pack("<3h", 14, 0, 10)))
    with pytest.raises(UserError, match="a.nii.gz holds no voxel"):
        reader.read_images([path])
    with pytest.raises(UserError, match="none.nii.gz: no such file"):
        reader.read_images([tmp_path / "none.nii.gz"])


def test_a_nifti_file_of_two_axes_is_no_volume(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels[..., 0])
    with pytest.raises(UserError, match="a.nii.gz holds 14 x 12 values, not one volume; give a volume of three axes"):
        reader.read_images([path])


def test_several_volumes_in_one_nifti_file_are_refused_by_every_reader(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", np.stack([voxels, voxels + 1], -1))
    with pytest.raises(UserError, match="a.nii.gz holds 14 x 12 x 10 x 2 values, not one volume; write each .* file of its own"):
        reader.read_images([path])


@pytest.mark.parametrize("is_vector", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_several_values_per_voxel_are_refused_in_other_formats_too(tmp_path, voxels, ending, is_vector):
    """nnU-Net takes the slices of a vector image for channels, and cannot write a label map on the grid of a 4D one."""
    several = np.stack([voxels, voxels + 1], -1 if is_vector else 0)
    image = sitk.GetImageFromArray(several, isVector=is_vector)
    image.SetSpacing((*SPACING, 1.0)[: image.GetDimension()])
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    with pytest.raises(UserError, match=f"a{ending}: several values per voxel, not one volume; write each"):
        CheckedReader(SimpleITKIO()).read_images([tmp_path / f"a{ending}"])


def test_what_a_reader_prints_before_it_raises_is_told_in_the_line(tmp_path, voxels, capsys):
    files = [write(tmp_path / "a.nii.gz", voxels), write(tmp_path / "b.nii.gz", voxels[1:])]
    with pytest.raises(UserError, match="a.nii.gz, .*b.nii.gz: SimpleITKIO cannot read it .*same shape"):
        CheckedReader(SimpleITKIO()).read_images(files)
    assert capsys.readouterr().out == ""


def test_a_full_folder_for_temporary_files_is_told_as_such(tmp_path, voxels, reader, monkeypatch):
    path = write(tmp_path / "a.nii.gz", voxels)

    def full(self, output):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnunetv2_cdpd.volumes.nifti.NiftiFile.unpack", full)
    with pytest.raises(UserError, match="a.nii.gz: cannot be unpacked in .*set TMPDIR"):
        reader.read_images([path])


def test_gzip_of_the_standard_library_serves_where_the_faster_one_is_not(tmp_path, voxels, monkeypatch):
    monkeypatch.setattr(whole, "_open_gzip", gzip.open)
    path = write(tmp_path / "a.nii.gz", voxels)
    reader = CheckedReader(SimpleITKIO())
    assert np.array_equal(reader.read_images([path])[0][0], voxels.transpose(2, 1, 0))
    for share in (0.9, 0.3):
        cut(path, share)
        with pytest.raises(UserError, match="is damaged"):
            reader.read_images([path])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.png"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name):
    kind = NaturalImage2DIO if name.endswith("png") else SimpleITKIO
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{re.escape(name)}: is no file"):
        CheckedReader(kind()).read_images([tmp_path / name])
    assert told_notes([tmp_path / name]) == []
