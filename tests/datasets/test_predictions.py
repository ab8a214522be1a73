"""The reader for a folder of label maps, and why there is none."""

import os
import re

import nibabel
import numpy as np
import pytest

from nnunetv2_cdpd.datasets.dataset_json import DatasetJson
from nnunetv2_cdpd.datasets.predictions import reader_for
from nnunetv2_cdpd.errors import UserError


def reader(folder, *names, ending=".nii.gz"):
    return reader_for(DatasetJson(folder / "dataset.json", {"file_ending": ending}), [folder / name for name in names])


def write(path):
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), np.eye(4)), path)
    return path


def test_the_reader_is_that_which_opens_the_first_good_file(tmp_path):
    write(tmp_path / "b.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes(b"torn")
    assert reader(tmp_path, "a.nii.gz", "none.nii.gz", "b.nii.gz").name == "SimpleITKIO"


@pytest.mark.parametrize(
    "make, what",
    [
        (os.mkfifo, "is no file but a pipe"),
        (os.mkdir, "is no file but a folder"),
        (lambda path: os.symlink("/dev/null", path), "is no file but a device"),
        (lambda path: os.symlink("nowhere", path), "no such file"),
    ],
)
def test_what_is_no_file_is_told_as_what_it_is(tmp_path, make, what):
    make(tmp_path / "a.nii.gz")
    with pytest.raises(UserError) as error:
        reader(tmp_path, "a.nii.gz", "b.nii.gz")
    assert str(error.value) == f"{tmp_path}/a.nii.gz: {what}; give a file, or take it out of its folder"


def test_why_no_reader_opens_a_file_is_told(tmp_path):
    path = write(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(
        UserError, match=rf"no reader for .nii.gz that opens it: {re.escape(str(path))} is damaged \(Compressed file ended before"
    ):
        reader(tmp_path, "a.nii.gz")
    (tmp_path / "a.mha").write_bytes(b"ObjectType = Image")
    with pytest.raises(UserError, match=r"a.mha: nnU-Net has no reader for .mha that opens it \(.*ERROR.*a.mha.*\); is the file"):
        reader(tmp_path, "a.mha", ending=".mha")


def test_a_name_that_is_no_text_is_told(tmp_path):
    with pytest.raises(UserError, match=r"a\\udcff.nii.gz': the name holds bytes that are no UTF-8; rename it"):
        reader(tmp_path, os.fsdecode(b"a\xff.nii.gz"))
