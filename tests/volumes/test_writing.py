"""Writing: a file is there whole and holds what it was given, or it is not there, and the reason is told."""

import re

import numpy as np
import pytest
import SimpleITK as sitk
from builders.nifti import SHAPE, cut, write
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import files as written
from nnunetv2_cdpd.volumes.reading import CheckedReader, read_sitk, write_sitk


def test_a_label_map_is_written_as_it_is(tmp_path, voxels, reader):
    path = write(tmp_path / "a.nii.gz", voxels)
    _, properties = reader.read_images([path])
    label = np.random.default_rng(1).integers(0, 200, SHAPE[::-1])
    reader.write_seg(label, tmp_path / "b.nii.gz", properties)
    again, its = reader.read_seg(tmp_path / "b.nii.gz")
    assert np.array_equal(again[0], label) and its["spacing"] == pytest.approx(properties["spacing"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_what_was_not_written_whole_gets_no_name(tmp_path, voxels, reader, monkeypatch):
    _, properties = reader.read_images([write(tmp_path / "a.nii.gz", voxels)])
    before = (tmp_path / "a.nii.gz").read_bytes()

    def on_a_full_disk(self, seg, output_fname, properties):
        host(self, seg, output_fname, properties)
        with open(output_fname, "r+b") as file:
            file.truncate(100)

    host = type(reader.reader).write_seg
    monkeypatch.setattr(type(reader.reader), "write_seg", on_a_full_disk)
    with pytest.raises(UserError, match=f"{re.escape(str(tmp_path))}/a.nii.gz: cannot be written whole; is the disk full"):
        reader.write_seg(np.ones(SHAPE[::-1], int), tmp_path / "a.nii.gz", properties)
    assert (tmp_path / "a.nii.gz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"] and written.BESIDE not in str(list(tmp_path.iterdir()))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd"])
def test_simpleitks_writer_is_checked(tmp_path, voxels, monkeypatch, name):
    image = sitk.GetImageFromArray(voxels)
    write_sitk(image, tmp_path / name)
    assert np.array_equal(sitk.GetArrayFromImage(read_sitk(tmp_path / name)), voxels)
    host = sitk.WriteImage
    monkeypatch.setattr(sitk, "WriteImage", lambda image, path: (host(image, path), cut(tmp_path / name, 0.5)))
    with pytest.raises(UserError, match=f"{name}: cannot be written whole; is the disk full"):
        write_sitk(image, tmp_path / name)


def test_values_that_a_format_does_not_keep_are_refused(tmp_path):
    png = CheckedReader(NaturalImage2DIO())
    with pytest.raises(UserError, match="a.png: NaturalImage2DIO does not keep values up to 70000 in .png"):
        png.write_seg(np.full((1, 6, 7), 70000), tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert not list(tmp_path.iterdir())


def test_a_volume_is_not_kept_as_its_first_slice(tmp_path):
    png = CheckedReader(NaturalImage2DIO())
    with pytest.raises(
        UserError, match="a.png: NaturalImage2DIO keeps 1 x 6 x 7 of 3 x 6 x 7 voxels in .png; use another format"
    ):
        png.write_seg(np.zeros((3, 6, 7), int), tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert not list(tmp_path.iterdir())
    png.write_seg(np.ones((1, 6, 7), int), tmp_path / "a.png", {"spacing": (999, 1, 1)})
    assert np.array_equal(png.read_seg(tmp_path / "a.png")[0][0], np.ones((1, 6, 7)))


def test_a_format_that_a_writer_does_not_know_is_told_as_such(tmp_path, voxels):
    reader = CheckedReader(NibabelIO())
    _, properties = reader.read_images([write(tmp_path / "a.nii.gz", voxels)])
    with pytest.raises(UserError, match=r"b.foo: NibabelIO cannot write it \(.*file type.*\); use another format"):
        reader.write_seg(np.ones(SHAPE[::-1], int), tmp_path / "b.foo", properties)
    _, properties = CheckedReader(SimpleITKIO()).read_images([tmp_path / "a.nii.gz"])
    with pytest.raises(
        UserError, match=r"b.foo: cannot be written whole; is the disk full\? \(Unable to determine ImageIO writer"
    ):
        CheckedReader(SimpleITKIO()).write_seg(np.ones(SHAPE[::-1], int), tmp_path / "b.foo", properties)
