"""Images without nnU-Net: what its readers give, written back on the voxels of the file; what is damaged is refused in a line."""

import gzip
import itertools
import math
import signal
import struct
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from builders.nifti import spoil
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable.images import check_output, read_image, write_labels

SHAPE = (4, 5, 6)
RNG = np.random.default_rng(2)


def write(file, array=None, spacing=(0.9, 0.8, 2.0), direction=(0, 1, 0, -1, 0, 0, 0, 0, 1)):
    image = sitk.GetImageFromArray(RNG.integers(-500, 500, SHAPE).astype(np.int16) if array is None else array)
    if image.GetDimension() == 3:
        image.SetSpacing(spacing)
        image.SetOrigin((12.5, -30.0, 7.0))
        image.SetDirection(direction)
    sitk.WriteImage(image, str(file))
    return file


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_volumes_as_nnunet_reads_them(ending, tmp_path):
    files = [write(tmp_path / f"{channel}{ending}") for channel in "ab"]
    expected, properties = SimpleITKIO().read_images([str(file) for file in files])
    found = read_image(files, ["a", "b"], False)
    assert np.array_equal(found.array, expected) and found.array.dtype == np.float32
    assert np.allclose(found.spacing, properties["spacing"])


def test_a_slice_as_nnunet_reads_it(tmp_path):
    file = write(tmp_path / "a.mha", RNG.normal(size=(7, 9)).astype(np.float32))
    expected, properties = SimpleITKIO().read_images([str(file)])
    found = read_image([file], ["a"], False)
    assert np.array_equal(found.array, expected) and np.allclose(found.spacing, properties["spacing"])
    write_labels(tmp_path / "labels.mha", np.ones((1, 7, 9), np.uint8), found)
    assert sitk.ReadImage(str(tmp_path / "labels.mha")).GetSize() == (9, 7)


def test_all_channels_in_one_file(tmp_path):
    channels = [sitk.ReadImage(str(write(tmp_path / f"{i}.nii.gz"))) for i in range(2)]
    sitk.WriteImage(sitk.JoinSeries(channels), str(tmp_path / "both.nii.gz"))
    expected, _ = SimpleITKIO().read_images([str(tmp_path / "both.nii.gz")])
    found = read_image([tmp_path / "both.nii.gz"], ["a", "b"], False)
    assert np.array_equal(found.array, expected)
    write_labels(tmp_path / "labels.nii.gz", np.ones(SHAPE, np.uint8), found)
    labels = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    assert np.allclose(labels.GetDirection(), channels[0].GetDirection(), atol=1e-6)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_turned_to_canonical_axes_and_back(order, tmp_path):
    signs = RNG.choice([-1.0, 1.0], 3)
    direction = np.zeros((3, 3))
    direction[list(order), range(3)] = signs
    file = write(tmp_path / "a.nii.gz", direction=direction.ravel().tolist())
    reader = NibabelIOWithReorient()
    expected, properties = reader.read_images([str(file)])
    found = read_image([file], ["a"], True)
    assert np.array_equal(found.array, expected)
    assert np.allclose(found.spacing, properties["spacing"], atol=1e-6)
    labels = RNG.integers(0, 5, found.array.shape[1:]).astype(np.uint8)
    reader.write_seg(labels, str(tmp_path / "theirs.nii.gz"), properties)
    write_labels(tmp_path / "ours.nii.gz", labels, found)
    theirs, ours = (nibabel.load(tmp_path / f"{name}.nii.gz") for name in ("theirs", "ours"))
    assert np.array_equal(np.asarray(theirs.dataobj), np.asarray(ours.dataobj))
    assert np.allclose(theirs.affine, ours.affine, atol=1e-5)


def test_labels_have_the_geometry_of_their_image(tmp_path):
    file = write(tmp_path / "a.nii.gz")
    labels = RNG.integers(0, 300, SHAPE).astype(np.uint16)
    write_labels(tmp_path / "labels.nii.gz", labels, read_image([file], ["a"], False))
    image, written = (sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("a", "labels"))
    assert np.array_equal(sitk.GetArrayFromImage(written), labels)
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(image, what)(), getattr(written, what)(), atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "labels.nii.gz"]


def truncated(tmp_path):
    file = write(tmp_path / "a.nii.gz")
    file.write_bytes(file.read_bytes()[:-20])
    return [file]


def shortened(tmp_path):
    """A whole gzip file of a NIfTI file that is not."""
    file = write(tmp_path / "a.nii.gz")
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-20]))
    return [file]


def shortened_nii(tmp_path):
    file = write(tmp_path / "a.nii")
    file.write_bytes(file.read_bytes()[:-20])
    return [file]


def not_numbers(tmp_path):
    return [write(tmp_path / "a.nii.gz", np.full(SHAPE, np.nan, np.float32))]


def of_two_places(tmp_path):
    """ITK takes the qform where the sform is not of the scanner."""
    image = nibabel.load(write(tmp_path / "a.nii.gz"))
    affine = image.affine.copy()
    affine[:3, 3] += 5
    image.header.set_sform(affine, 2)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header), tmp_path / "a.nii.gz")
    return [tmp_path / "a.nii.gz"]


def of_nifti_2(tmp_path):
    nibabel.save(nibabel.Nifti2Image(np.zeros(SHAPE, np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    return [tmp_path / "a.nii.gz"]


def with_header(kinds, place, *numbers):
    return lambda tmp_path: [
        spoil(write(tmp_path / "a.nii.gz"), lambda content: struct.pack_into(kinds, content, place, *numbers))
    ]


def of_two_grids(tmp_path):
    return [write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz", spacing=(1, 1, 1))]


def in_colours(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), str(tmp_path / "a.nrrd"))
    return [tmp_path / "a.nrrd"]


def no_image(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"no image at all" * 40))
    return [tmp_path / "a.nii.gz"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (truncated, "is damaged"),
        (shortened, r"is damaged \(20 bytes are missing\)"),
        (shortened_nii, r"is damaged \(20 bytes are missing\)"),
        (not_numbers, "holds values that are no numbers"),
        (of_two_grids, "not on one grid"),
        (in_colours, "no volume of one number per voxel"),
        (of_two_places, "its header gives two places"),
        (of_nifti_2, "NIfTI-2 is to be converted"),
        (with_header("<f", 108, 0), "does not say where the voxels begin"),
        (with_header("<2f", 112, 0, -1024), "scales by 0 and adds -1024"),
        (with_header("<2f", 112, math.nan, -1024), "scales by nan and adds -1024"),
        (with_header("<2f", 112, 2, math.nan), "scales by 2 and adds nan"),
        (with_header("<f", 80, -0.8), "negative voxel sizes"),
        (no_image, "is no NIfTI-1 file"),
        (lambda tmp_path: [tmp_path / "a.nii.gz"], "no such file"),
        (lambda tmp_path: [tmp_path], "of a DICOM series make one first"),
        (lambda tmp_path: [tmp_path / "a.dcm"], "not a volume of a format that is read here"),
        (
            lambda tmp_path: [write(tmp_path / "a.nii.gz")],
            r"1 of the model's 2 channels; give a file of each, in this order: a, b",
        ),
    ],
)
def test_what_is_refused(make, told, tmp_path):
    files = make(tmp_path)
    with pytest.raises(UserError, match=told) as refused:
        read_image(files, ["a", "b"], False)
    assert str(files[0]) in str(refused.value)


def test_where_nothing_is_written(tmp_path):
    there = write(tmp_path / "a.nii.gz")
    for file, told in (
        (there, "is there already, and stays"),
        (tmp_path / "labels.png", "not a format of label maps"),
        (tmp_path / "none" / "labels.nii.gz", "no such folder"),
    ):
        with pytest.raises(UserError, match=told):
            check_output(file)


def test_what_a_killed_runner_left_is_cleared_away_by_the_next(tmp_path):
    image = write(tmp_path / "a.nii.gz")
    output = tmp_path / "out" / "labels.nii.gz"
    output.parent.mkdir()
    killed = f"""
import os, signal
import numpy as np
import SimpleITK as sitk
from pathlib import Path
from nnunetv2_cdpd.portable.images import read_image, write_labels
sitk.ReadImage = lambda file, read=sitk.ReadImage: read(file) if "out" not in file else os.kill(os.getpid(), signal.SIGKILL)
write_labels(Path({str(output)!r}), np.ones({SHAPE}, np.uint8), read_image([Path({str(image)!r})], ["a"], False))
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=Path.cwd()).returncode == -signal.SIGKILL
    assert len(list(output.parent.iterdir())) == 2, "a folder with what was written, and its lock"
    write_labels(output, np.ones(SHAPE, np.uint8), read_image([image], ["a"], False))
    assert list(output.parent.iterdir()) == [output]


def test_a_label_map_that_cannot_be_read_back_is_not_left(tmp_path, monkeypatch):
    image = read_image([write(tmp_path / "a.nii.gz")], ["a"], False)
    monkeypatch.setattr("nnunetv2_cdpd.portable.images.sitk.ReadImage", lambda file: sitk.Image(6, 5, 4, sitk.sitkUInt8))
    with pytest.raises(UserError, match=r"labels.nii.gz: cannot be written whole; is the disk full\?$") as told:
        write_labels(tmp_path / "labels.nii.gz", np.ones(SHAPE, np.uint8), image)
    assert str(tmp_path / "labels.nii.gz") in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
