"""Images: handed on as they are, written smaller where exact, or refused by name."""

import gzip
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from builders.conversion import case_fixture, declare, output, reason, run  # noqa: F401
from builders.replica_files import AFFINE, SHAPE, write_nifti
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunetv2_cdpd.volumes.nifti import NiftiFile
from nnunetv2_cdpd.volumes.value_types import smallest_exact


def test_files_that_need_no_change_are_the_same_files(case):
    folder, _, _ = case
    run(folder)
    assert os.path.samefile(output(folder, "imagesTr"), folder / "img/c1.nii.gz")
    assert os.path.samefile(output(folder), folder / "lab/c1.nii.gz")


def test_copies_are_bit_identical_and_no_links(case):
    folder, _, _ = case
    run(folder, copy=True)
    assert not os.path.samefile(output(folder, "imagesTr"), folder / "img/c1.nii.gz")
    assert output(folder, "imagesTr").read_bytes() == (folder / "img/c1.nii.gz").read_bytes()
    assert output(folder).read_bytes() == (folder / "lab/c1.nii.gz").read_bytes()


def test_where_no_link_is_possible_files_are_copied_with_a_note(case, monkeypatch):
    folder, _, _ = case

    def refuse(*args):
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    outcome = run(folder)
    assert outcome.complete and "copied" in outcome.notes["MINE_c1"][0]
    assert output(folder, "imagesTr").read_bytes() == (folder / "img/c1.nii.gz").read_bytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.uint8])
def test_integer_values_are_stored_as_int16_and_unchanged(dtype, case):
    folder, image, _ = case
    image = np.clip(image, 0, 200).astype(dtype)
    (folder / "img/c1.nii.gz").unlink()
    write_nifti(folder / "img/c1.nii", image.astype(np.float32) if dtype == np.float64 else image, axes="LPS")
    run(folder)
    written = nibabel.load(output(folder, "imagesTr"))
    assert written.get_data_dtype() == np.int16
    assert np.array_equal(np.asanyarray(nibabel.as_closest_canonical(written).dataobj), image)


def test_units_are_written_in_mm_with_a_note(case):
    folder, image, _ = case
    for name in ("img", "lab"):
        path = folder / f"{name}/c1.nii.gz"
        stored = nibabel.load(path)
        voxels, affine = np.asanyarray(stored.dataobj), stored.affine.copy()
        affine[:3] *= 1000
        in_microns = nibabel.Nifti1Image(voxels, affine)
        in_microns.header.set_xyzt_units("micron")
        nibabel.save(in_microns, path)
    outcome = run(folder)
    note = "its header counts in microns, turned into mm"
    assert tuple(outcome.notes["MINE_c1"]) == (note, f"label: {note}")
    for kind in ("imagesTr", "labelsTr"):
        written = nibabel.load(output(folder, kind))
        np.testing.assert_allclose(nibabel.as_closest_canonical(written).affine, AFFINE, atol=1e-4)
        assert written.header.get_xyzt_units()[0] == "mm"
    assert np.array_equal(np.asanyarray(nibabel.as_closest_canonical(nibabel.load(output(folder, "imagesTr"))).dataobj), image)


def test_two_affines_that_differ_become_one(case):
    """Readers differ in which they take: the file is written anew, with the sform in both places."""
    folder, _, _ = case
    for name in ("img", "lab"):
        stored = nibabel.load(folder / f"{name}/c1.nii.gz")
        changed = nibabel.Nifti1Image(np.asanyarray(stored.dataobj), stored.affine)
        moved = stored.affine.copy()
        moved[0, 3] += 30
        changed.set_sform(stored.affine, 1)
        changed.set_qform(moved, 1)
        nibabel.save(changed, folder / f"{name}/c1.nii.gz")
    outcome = run(folder)
    assert outcome.complete
    note = "its header gives two places, qform and sform, up to 30 mm apart; the sform is used"
    assert tuple(outcome.notes["MINE_c1"]) == (note, f"label: {note}")
    for kind in ("imagesTr", "labelsTr"):
        written = nibabel.load(output(folder, kind))
        np.testing.assert_allclose(written.get_qform(), written.get_sform(), atol=1e-4)
        np.testing.assert_allclose(nibabel.as_closest_canonical(written).affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nan_is_refused_whether_the_file_would_be_linked_or_not(case, ending):
    folder, image, _ = case
    broken = image.astype(np.float32)
    broken[1, 2, 3] = np.nan
    (folder / "img/c1.nii.gz").unlink()
    write_nifti(folder / f"img/c1{ending}", broken)
    assert f"img/c1{ending} holds values that are no numbers" in reason(folder)


def test_fractions_of_hu_are_kept_as_float32(case):
    folder, image, _ = case
    (folder / "img/c1.nii.gz").unlink()
    write_nifti(folder / "img/c1.nii", (image + 0.25).astype(np.float32))
    run(folder)
    written = nibabel.load(output(folder, "imagesTr"))
    assert written.get_data_dtype() == np.float32 and np.array_equal(np.asanyarray(written.dataobj), image + 0.25)


@settings(max_examples=60, deadline=None)
@given(arrays(st.sampled_from([np.float32, np.int32, np.int64, np.uint16]), (2, 3, 4), elements=st.integers(0, 2**15)))
def test_smallest_exact_type_changes_no_value(array):
    assert np.array_equal(smallest_exact(array, "f"), array)


def test_values_beyond_int16_keep_a_wider_type():
    assert smallest_exact(np.array([[[2**15, 1]]], np.int64), "f").dtype == np.int32
    assert smallest_exact(np.array([[[2.0**40, 1]]]), "f").dtype == np.float32


def test_image_with_nan_is_refused(case):
    folder, image, _ = case
    (folder / "img/c1.nii.gz").unlink()
    write_nifti(folder / "img/c1.nii", np.where(image > 0, np.nan, 0).astype(np.float32))
    assert "c1.nii holds values that are no numbers" in reason(folder)


def test_torn_image_is_refused(case):
    folder, _, _ = case
    path = folder / "img/c1.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    assert "img/c1.nii.gz is damaged" in reason(folder)


def test_image_with_missing_bytes_is_refused(case):
    folder, _, _ = case
    path = folder / "img/c1.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))
    assert "100 bytes are missing" in reason(folder)


def test_torn_label_is_refused(case):
    folder, _, _ = case
    path = folder / "lab/c1.nii.gz"
    path.write_bytes(path.read_bytes()[:-60])
    assert "lab/c1.nii.gz is damaged" in reason(folder)


def test_file_of_another_kind_is_refused(case):
    folder, _, _ = case
    (folder / "img/c1.nii.gz").write_text("<html>log in first</html>")
    assert "img/c1.nii.gz is damaged" in reason(folder)


def test_image_of_several_volumes_is_refused(case):
    folder, image, _ = case
    nibabel.save(nibabel.Nifti1Image(np.stack([image, image], -1), AFFINE), folder / "img/c1.nii.gz")
    assert "holds 26 x 24 x 18 x 2 values, not one volume" in reason(folder)


def test_image_of_colors_is_refused(case):
    folder, _, _ = case
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, AFFINE), folder / "img/c1.nii.gz")
    assert "not plain numbers" in reason(folder)


def test_image_without_geometry_is_refused(case):
    folder, image, _ = case
    singular = nibabel.Nifti1Image(image, AFFINE)
    singular.header["sform_code"], singular.header["qform_code"] = 1, 0
    for row in ("srow_x", "srow_y", "srow_z"):
        singular.header[row] = 0
    raw = nibabel.Nifti1Image(image, None, singular.header)
    raw.header["srow_x"] = raw.header["srow_y"] = raw.header["srow_z"] = 0
    raw.header["sform_code"] = 1
    with (folder / "img/c1.nii").open("wb") as file:
        file.write(raw.header.binaryblock + b"\0" * 4 + image.tobytes("F"))
    (folder / "img/c1.nii.gz").unlink()
    assert "no usable geometry" in reason(folder)


def sheared(amount):
    affine = AFFINE.copy()
    affine[0, 2] = amount * 2.5
    return affine


def test_rounded_axes_are_made_perpendicular_with_a_note(case):
    folder, image, label = case
    for kind, array in (("img", image), ("lab", label)):
        write_nifti(folder / f"{kind}/c1.nii.gz", array, affine=sheared(0.002), forms="sform")
    outcome = run(folder)
    assert outcome.complete and any("perpendicular" in note for note in outcome.notes["MINE_c1"])
    direction = nibabel.load(output(folder, "imagesTr")).affine[:3, :3] / (0.8, 0.9, 2.5)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-5)


def test_sheared_grid_is_refused(case):
    folder, image, _ = case
    write_nifti(folder / "img/c1.nii.gz", image, affine=sheared(0.2), forms="sform")
    assert "img/c1.nii.gz has a sheared grid" in reason(folder)


def test_lost_geometry_is_told(case):
    folder, image, label = case
    for kind, array in (("img", image), ("lab", label)):
        write_nifti(folder / f"{kind}/c1.nii.gz", array, affine=np.eye(4))
    assert any("geometry looks lost" in note for note in run(folder).notes["MINE_c1"])


# ---- real CT ----------------------------------------------------------------------------------------------------------

SHARED = Path(__file__).parents[3] / "shared" / "data" / "totalsegmentator"
needs_real_ct = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the CT in ../shared/data, which is no part of the project")


@needs_real_ct
def test_a_case_of_real_ct_is_unchanged(nnunet_folders, tmp_path):
    source = SHARED
    for kind, name in (("img", "TS01_ct.nii.gz"), ("lab", "TS01_btcv13.nii.gz")):
        (tmp_path / kind).mkdir()
        shutil.copy(source / name, tmp_path / f"{kind}/c1.nii.gz")
    values = {value: f"organ_{value}" for value in range(1, 14)}
    outcome = run(tmp_path, declare(values=values))
    assert outcome.complete, outcome.failed
    for kind, name in (("imagesTr", "TS01_ct.nii.gz"), ("labelsTr", "TS01_btcv13.nii.gz")):
        before, after = nibabel.load(source / name), nibabel.load(output(tmp_path, kind))
        assert np.array_equal(np.asanyarray(before.dataobj), np.asanyarray(after.dataobj))
        np.testing.assert_allclose(before.affine, after.affine, atol=1e-4)


@needs_real_ct
def test_real_ct_stored_rotated_keeps_its_voxels(nnunet_folders, tmp_path):
    source = SHARED
    image, label = (nibabel.load(source / f"TS01_{name}.nii.gz") for name in ("ct", "btcv13"))
    write_nifti(tmp_path / "img/c1.nii", np.asanyarray(image.dataobj), axes="ASR", affine=image.affine)
    write_nifti(tmp_path / "lab/c1.nii", np.asanyarray(label.dataobj), axes="IPL", affine=label.affine)
    outcome = run(tmp_path, declare(values={value: f"organ_{value}" for value in range(1, 14)}))
    assert outcome.complete, outcome.failed
    for kind, before in (("imagesTr", image), ("labelsTr", label)):
        before, after = (nibabel.as_closest_canonical(one) for one in (before, nibabel.load(output(tmp_path, kind))))
        assert np.array_equal(np.asanyarray(before.dataobj), np.asanyarray(after.dataobj))
        np.testing.assert_allclose(before.affine, after.affine, atol=1e-3)
    assert NiftiFile(output(tmp_path, "imagesTr")).ready
