"""The same scan in altered copies: found among other patients, and no two patients taken for one."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.audit import changed, image_of, mirrored

from nnunetv2_cdpd.same_scan.alignment import Pair
from nnunetv2_cdpd.same_scan.fingerprint import Fingerprint, fingerprint
from nnunetv2_cdpd.same_scan.pairs import SAME_SCAN, find_pairs, groups

OTHERS = (1, 2, 3, 4)  # phantoms that the copies of phantom 5 are compared with
REAL = Path(__file__).parents[3] / "shared" / "data" / "openkbp" / "images"


def taken(image, tmp_path):
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    return fingerprint(tmp_path / "image.nrrd")


def resampled(image, factors):
    spacing = [mm * factor for mm, factor in zip(image.GetSpacing(), factors)]
    size = [int(n / factor) for n, factor in zip(image.GetSize(), factors)]
    return sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection(), -1000)


def offset(array):
    return (array.astype(np.int32) + 1024).clip(0).astype(np.uint16)


ALTERED = {
    "written again": (lambda image: image, ""),
    "offset": (lambda image: changed(image, offset), ""),
    "upper half": (lambda image: image[:, :, image.GetSize()[2] // 2 :], ""),
    "sides": (lambda image: mirrored(image, 2), "left and right"),
    "all sides": (lambda image: mirrored(image, 0, 1, 2), "feet and head, front and back, left and right"),
    "resampled": (lambda image: resampled(image, (1.2, 1.2, 1.3)), ""),
    "together": (lambda image: changed(mirrored(resampled(image, (1.1, 1.1, 1.2)), 0)[:, :, 8:40], offset), "feet and head"),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    return [taken(image_of(number), folder) for number in (*OTHERS, 5)]


@pytest.mark.parametrize("name", ALTERED)
def test_altered_copy_is_found_and_no_other_patient(originals, tmp_path, name):
    alter, mirror = ALTERED[name]
    # as the phantom's file may run along any axes, its voxels are mirrored in those of the body
    copy = taken(alter(sitk.DICOMOrient(image_of(5), "LPS")), tmp_path)
    (pair,) = find_pairs([*originals, copy])
    assert (pair.first, pair.second, pair.mirrored) == (4, 5, mirror)
    assert pair.score > SAME_SCAN and 0.9 < pair.shared <= 1


def test_different_patients_are_no_pair(originals):
    assert find_pairs(originals) == []


def test_threshold_is_the_users_to_set(originals, tmp_path):
    copy = taken(resampled(image_of(5), (1.2, 1.2, 1.3)), tmp_path)
    assert find_pairs([*originals, copy], min_score=0.999) == []


def test_images_without_a_volume_are_left_out_and_indices_stay(originals):
    nothing = Fingerprint(originals[0].facts, None)
    (pair,) = find_pairs([nothing, originals[0], nothing, originals[1], originals[0]])
    assert (pair.first, pair.second) == (1, 4) and pair.score > 0.9
    assert find_pairs([nothing, originals[0]]) == [] == find_pairs([])


def test_shift_tells_where_one_lies_on_the_other(originals, tmp_path):
    image = sitk.DICOMOrient(image_of(5), "LPS")
    spacing = image.GetSpacing()[2]
    start = round(120 / spacing)
    copy = taken(image[:, :, start:], tmp_path)
    (pair,) = find_pairs([originals[4], copy])
    assert abs(pair.shift[0] * 6 + start * spacing) < 30  # the body begins some steps above the first slice


def test_groups_join_over_others_in_the_order_of_the_images():
    pairs = [Pair(first, second, 0.9, 1.0, (1, 1, 1), (0, 0, 0)) for first, second in ((4, 1), (1, 6), (2, 5))]
    assert groups(8, pairs) == [[1, 4, 6], [2, 5]]
    assert groups(3, []) == []


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs real CTs in ../shared/data/openkbp, which are no part of the project")
def test_on_real_ct_all_but_the_hardest_copies_are_found_and_no_false_alarm(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    sys.modules.pop("duplicates", None)
    import duplicates as benchmark

    paths = sorted(REAL.glob("*.nii.gz"))[:24]
    entries = [fingerprint(path) for path in paths]
    copies = benchmark.altered_copies(paths[::6], tmp_path, np.random.default_rng(0))
    found = find_pairs([*entries, *(entry for _, _, entry in copies)])
    patients = [*range(len(paths)), *(6 * index for index, _, _ in copies)]
    assert all(patients[pair.first] == patients[pair.second] for pair in found)
    with_original = {pair.second - len(paths) for pair in found if pair.first < len(paths) <= pair.second}
    missed = [name for number, (_, name, _) in enumerate(copies) if number not in with_original]
    assert set(missed) <= {"clipped to -160 ... 240 HU", "30 % of the slices", "all: resampled, half, mirrored, offset"}
    assert len(missed) <= 0.1 * len(copies)


def test_images_without_a_fingerprint_keep_their_place_in_the_order(tmp_path):
    entry = taken(image_of(1), tmp_path)
    (pair,) = find_pairs([None, entry, None, entry])
    assert (pair.first, pair.second) == (1, 3)
