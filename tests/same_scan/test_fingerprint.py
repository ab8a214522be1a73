"""Fingerprints: a coarse copy in the axes of the body, whatever the file; where they are kept."""

import os
import time

import numpy as np
import pytest
import SimpleITK as sitk
from builders.audit import changed, image_of, mirrored, patient, with_geometry

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.files import BESIDE
from nnunetv2_cdpd.same_scan import store
from nnunetv2_cdpd.same_scan.fingerprint import STEP_MM, UNITS, Fingerprint, fingerprint


def taken(image, tmp_path, ending=".nii.gz"):
    sitk.WriteImage(image, str(tmp_path / f"image{ending}"))
    return fingerprint(tmp_path / f"image{ending}")


def box(shape=(20, 30, 40), spacing=(3.0, 4.0, 6.0), hu=50):
    """A body of 40 x 30 x 20 voxels (x, y, z) in air, with a bright corner at its front, right and feet."""
    array = np.full([length + 8 for length in shape], -1000, np.int16)
    array[4:-4, 4:-4, 4:-4] = hu
    array[4:10, 4:12, 4:16] = 400
    return with_geometry(array, spacing)


def test_grid_has_six_mm_and_runs_feet_to_head_front_to_back_right_to_left(tmp_path):
    entry = taken(box(), tmp_path)
    assert [round(length * mm / STEP_MM) for length, mm in zip((20, 30, 40), (6.0, 4.0, 3.0))] == [20, 20, 20]
    assert all(abs(length - 20) <= 1 for length in entry.volume.shape)
    bright = UNITS * (400 + 1000) / (50 + 1000)
    assert entry.volume[2, 2, 2] == round(bright) and entry.volume[-3, -3, -3] == UNITS


@pytest.mark.parametrize("orientation", ["RAS", "PIL", "SLA"])
def test_order_and_direction_of_the_axes_of_the_file_do_not_matter(tmp_path, orientation):
    image = box()
    expected = taken(image, tmp_path)
    turned = sitk.DICOMOrient(image, orientation)
    entry = taken(turned, tmp_path)
    np.testing.assert_array_equal(entry.volume, expected.volume)
    assert entry.facts.orientation == orientation and expected.facts.orientation == "LPS"
    assert (entry.facts.size, entry.facts.spacing) == (expected.facts.size, expected.facts.spacing) == ((48, 38, 28), (3, 4, 6))
    np.testing.assert_allclose(entry.facts.body_centre, expected.facts.body_centre, atol=1e-3)


def test_facts_are_those_of_the_file(tmp_path):
    facts = taken(box(), tmp_path).facts
    assert (facts.minimum, facts.maximum, facts.oblique_degrees) == (-1000, 400, 0)
    assert (facts.air, facts.tissue) == (-1000, 50)
    assert facts.percentiles[0] == -1000 and facts.percentiles[-1] == 400
    # the body reaches from voxel 4 to 43, 33 and 23; its middle lies at 23.5, 18.5 and 13.5
    np.testing.assert_allclose(facts.body_centre, (23.5 * 3, 18.5 * 4, 13.5 * 6), atol=STEP_MM / 2)


def test_format_type_offset_and_scale_do_not_matter(tmp_path):
    expected = taken(image_of(1), tmp_path).volume
    for change, ending in (
        (lambda array: array.astype(np.float32), ".nrrd"),
        (lambda array: (array.astype(np.int32) + 1024).clip(0).astype(np.uint16), ".mha"),
        (lambda array: (array.astype(np.float64) + 1000) / 2000, ".nii"),
    ):
        volume = taken(changed(image_of(1), change), tmp_path, ending).volume
        assert np.abs(volume.astype(int) - expected).max() <= 2


def test_padding_outside_of_the_field_of_view_does_not_matter(tmp_path):
    expected = taken(box(), tmp_path).volume

    def padded(array):
        array[:, :3] = -3024
        return array

    np.testing.assert_array_equal(taken(changed(box(), padded), tmp_path).volume, expected)


def test_air_alone_one_value_and_a_body_of_few_voxels_have_no_volume(tmp_path):
    noise = np.random.default_rng(0).normal(-1000, 10, (20, 21, 22)).astype(np.int16)
    for array in (noise[:4, :5, :6], np.zeros((20, 21, 22), np.int16)):
        assert taken(with_geometry(array, (3.0, 4.0, 5.0)), tmp_path).volume is None


def test_images_that_are_not_3d_are_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 6), np.uint8)), str(tmp_path / "flat.png"))
    with pytest.raises(UserError, match="is not a 3D image"):
        fingerprint(tmp_path / "flat.png")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(tmp_path, value):
    array = np.zeros((5, 6, 7), np.float32)
    array[1, 2, 3] = value
    sitk.WriteImage(with_geometry(array, (1.0, 2.0, 3.0)), str(tmp_path / "image.nrrd"))
    with pytest.raises(UserError, match=r"image.nrrd holds values that are no numbers \(nan or infinite\)"):
        fingerprint(tmp_path / "image.nrrd")


def test_of_four_dimensions_the_first_channel_counts(tmp_path):
    first, second = patient(1).hu, patient(1).hu * 0
    both = sitk.JoinSeries([with_geometry(array, (4.0, 4.1, 5.0)) for array in (first, second)])
    expected = taken(with_geometry(first, (4.0, 4.1, 5.0)), tmp_path)
    np.testing.assert_array_equal(taken(both, tmp_path).volume, expected.volume)


def test_saved_fingerprint_is_the_same(tmp_path):
    for image in (box(), with_geometry(np.zeros((5, 6, 7), np.int16), (1.0, 2.0, 3.0))):
        entry = taken(image, tmp_path)
        entry.save(tmp_path / "kept.npz")
        again = Fingerprint.load(tmp_path / "kept.npz")
        assert again.facts == entry.facts
        assert (again.volume is None and entry.volume is None) or np.array_equal(again.volume, entry.volume)


# ---- where they are kept ---------------------------------------------------------------------------------------------


def test_kept_fingerprints_are_not_taken_again_until_the_image_changes(tmp_path, nnunet_folders, monkeypatch):
    path = tmp_path / "image.nii.gz"
    sitk.WriteImage(image_of(1), str(path))
    calls = []
    original = store.fingerprint
    monkeypatch.setattr(store, "fingerprint", lambda image: calls.append(image) or original(image))
    first = store.fingerprints_of([path, path]).done[str(path)]
    again = store.fingerprints_of([path]).done[str(path)]
    np.testing.assert_array_equal(first.volume, again.volume)
    assert calls == [path] and not list((nnunet_folders.preprocessed / store.FINGERPRINTS_FOLDER).glob(f"{BESIDE}*"))
    (kept,) = (nnunet_folders.preprocessed / store.FINGERPRINTS_FOLDER).glob("*.npz")
    kept.write_bytes(b"half")
    store.fingerprints_of([path])
    assert len(calls) == 2
    sitk.WriteImage(mirrored(image_of(1), 0), str(path))
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    changed_one = store.fingerprints_of([path]).done[str(path)]
    assert len(calls) == 3 and not np.array_equal(changed_one.volume, first.volume)


def test_without_nnunet_preprocessed_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    path = tmp_path / "image.nii.gz"
    sitk.WriteImage(image_of(1), str(path))
    assert store.fingerprints_of([path]).done[str(path)].volume is not None
    assert list(tmp_path.rglob("*")) == [path]


def test_a_store_that_cannot_be_written_to_stops_nothing(tmp_path, nnunet_folders):
    (nnunet_folders.preprocessed / store.FINGERPRINTS_FOLDER).write_text("a file where the folder would be")
    path = tmp_path / "image.nii.gz"
    sitk.WriteImage(image_of(1), str(path))
    assert store.fingerprints_of([path]).done[str(path)].volume is not None


def test_an_image_that_cannot_be_read_stops_no_other(tmp_path, nnunet_folders):
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    sitk.WriteImage(image_of(1), str(tmp_path / "good.nii.gz"))
    found = store.fingerprints_of([tmp_path / "bad.nii.gz", tmp_path / "good.nii.gz", tmp_path / "none.nii.gz"])
    assert list(found.done) == [str(tmp_path / "good.nii.gz")]
    bad, none = str(tmp_path / "bad.nii.gz"), str(tmp_path / "none.nii.gz")
    assert set(found.failed) == {bad, none}
    assert found.failed[bad].startswith(f"{bad} is damaged") and f"{none}: no such file" in found.failed[none]
