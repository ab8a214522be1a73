"""Volumes of the viewer: every voxel where it lies in the patient, intensities within a step, never larger than allowed."""

import base64
import hashlib
import json
import re
import zlib

import numpy as np
import pytest
from builders.report import SHAPE, volume_of
from scipy.spatial.transform import Rotation

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pages.body import CT_WINDOW, Volume
from nnunetv2_cdpd.pages.mistakes import MISSED, SPURIOUS, Mistakes
from nnunetv2_cdpd.pages.viewer import (
    CASE_BYTES,
    CT_WINDOWS,
    HU_LEVELS,
    MOST_VOLUMES,
    MOST_VOXELS,
    PAGE_BYTES,
    bytes_of_each,
    viewer_volume,
)
from nnunetv2_cdpd.volumes.grid import Grid


def unpacked(volume, what):
    """(Z, Y, X), as viewer.js reads it."""
    return np.frombuffer(zlib.decompress(base64.b64decode(getattr(volume, what))), np.uint8).reshape(volume.shape[::-1])


def ct(shape, seed=0):
    """HU with air around, as `window_of` tells one."""
    image = np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    image[:, 0] = -1000
    return image


def test_a_small_volume_holds_every_voxel():
    generator = np.random.default_rng(0)
    reference, prediction = generator.integers(0, 4, (2, 7, 12, 18))
    volume = viewer_volume(ct((7, 12, 18)), volume_of(reference, (3.0, 1.0, 1.0)), prediction, {1: 9, 2: 200}, {3: 9})
    assert volume.shape == (18, 12, 7) and volume.unit == "HU" and [name for name, *_ in volume.windows] == list(CT_WINDOWS)
    np.testing.assert_array_equal(unpacked(volume, "reference"), np.array([0, 9, 200, 0])[reference])
    np.testing.assert_array_equal(unpacked(volume, "prediction"), np.array([0, 0, 0, 9])[prediction])
    assert volume.mistakes == "" and volume.size < CASE_BYTES
    shown = np.array(volume.levels)[unpacked(volume, "image")]
    away = np.abs(shown - ct((7, 12, 18)))
    soft = np.abs(ct((7, 12, 18)) - 50) < 240
    assert away.max() <= 8 and away[soft].max() <= 2  # half a step


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_values_that_nothing_declares_are_not_drawn_however_large(kind):
    label = np.zeros((1, 4, 4), kind)
    label[0, 0, :3] = 1, 2, np.iinfo(kind).max
    label[0, 1, 0] = np.iinfo(kind).min
    volume = viewer_volume(None, volume_of(label, (1, 1, 1)), label, {2: 7}, {})
    assert unpacked(volume, "reference")[0, 0].tolist()[:3] == [0, 7, 0] and unpacked(volume, "reference").sum() == 7
    assert not unpacked(volume, "prediction").any()


def test_levels_of_hu_are_256_in_order():
    assert len(HU_LEVELS) == 256 and (np.diff(HU_LEVELS) > 0).all() and HU_LEVELS[0] == -1024 and HU_LEVELS[-1] > 1500
    assert dict(CT_WINDOWS)["soft tissue"] == CT_WINDOW


def test_other_intensities_span_what_most_voxels_do():
    image = np.random.default_rng(0).gamma(2, 400, SHAPE).astype(np.float32)
    label = np.ones(SHAPE, np.uint8)
    volume = viewer_volume(image, volume_of(label, (1, 1, 1)), label, {}, {}, window=(0.0, 3000.0))
    assert (
        volume.unit == "" and [name for name, *_ in volume.windows] == ["given", "all"] and volume.windows[0][1:] == (0.0, 3000.0)
    )
    low, high = np.percentile(image, (0.5, 99.5))
    inside = (image > low) & (image < high)
    shown = np.array(volume.levels)[unpacked(volume, "image")]
    assert np.abs(shown - image)[inside].max() <= (volume.levels[1] - volume.levels[0]) / 2 + 1e-3


@pytest.mark.parametrize("turn", [(0, 0, 0), (0, 0, 20), (10, -15, 30)])
def test_a_reduced_and_cropped_volume_lies_where_its_voxels_were(turn):
    """A ball of 12 mm around a known place, whatever the direction of the grid."""
    grid = Grid(
        (150, 140, 90),
        np.array([1.0, 1.0, 2.5]),
        np.array([-200.0, 31.0, -700.0]),
        Rotation.from_euler("xyz", turn, True).as_matrix(),
    )
    centre = grid.position((60, 75, 40))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    positions = index * grid.spacing @ grid.direction.T + grid.origin
    ball = (np.linalg.norm(positions - centre, axis=-1) < 12).T.astype(np.uint8)
    its = np.zeros((2, 2), bool)
    its[0, 1] = True
    volume = viewer_volume(
        None,
        Volume(ball, grid),
        np.roll(ball, 8, 2),
        {1: 5},
        {1: 5},
        None,
        Mistakes(its * np.uint8(2), "x", its, its),
        most_bytes=1200,
    )
    assert 0 < volume.size <= 1200 and volume.shape[0] < 80 and volume.shape[2] < 30
    affine = np.array(volume.affine)
    found = np.argwhere(unpacked(volume, "reference") == 5)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    assert np.allclose(found.mean(0) * (-1, -1, 1), centre, atol=0.7)  # RAS -> LPS
    start = np.linalg.inv(affine) @ (*volume.start, 1)
    assert unpacked(volume, "mistakes")[tuple(np.rint(start[2::-1]).astype(int))] == SPURIOUS
    assert np.allclose(start, np.rint(start), atol=1e-2)  # in the middle of a voxel


def test_what_a_coarser_volume_would_lose_is_put_where_it_was():
    label = np.zeros((120, 240, 240), np.uint8)
    label[0, 0, 0] = label[-1, -1, -1] = 1
    label[61, 121, 33] = 2
    volume = viewer_volume(None, volume_of(label, (1, 1, 1)), label, {1: 1, 2: 2}, {2: 2})
    assert np.prod(volume.shape) <= MOST_VOXELS < label.size
    ((z, y, x),) = np.argwhere(unpacked(volume, "reference") == 2)
    assert np.allclose(np.array(volume.affine) @ (x, y, z, 1), (-33, -121, 61, 1), atol=1)


@pytest.mark.parametrize("most_bytes", [CASE_BYTES, 300_000, 20_000])
def test_noise_in_all_that_is_packed_stays_within_the_bound(most_bytes):
    shape = (60, 180, 180)
    generator = np.random.default_rng(0)
    reference, prediction = generator.integers(0, 200, (2, *shape)).astype(np.uint8)
    table = generator.integers(0, 4, (200, 200)).astype(np.uint8)
    indices = {value: value for value in range(1, 200)}
    volume = viewer_volume(
        ct(shape), volume_of(reference, (3, 1, 1)), prediction, indices, indices, None,
        Mistakes(table, "x", table > 0, table > 0), most_bytes,
    )  # fmt: skip
    assert most_bytes / 2 < volume.size <= most_bytes
    x, y, z = (mm / length for mm, length in zip((180, 180, 180), volume.shape))
    assert x == y and z == pytest.approx(max(3, x), rel=0.1)  # the finest axes are coarsened first


def test_volumes_of_a_page_share_its_room():
    for count in (0, 1, 2, 8, MOST_VOLUMES):
        assert count * bytes_of_each(count) <= PAGE_BYTES and bytes_of_each(count) <= CASE_BYTES
    assert bytes_of_each(1) == CASE_BYTES and bytes_of_each(MOST_VOLUMES) >= 1_000_000


def test_a_volume_without_labels_is_shown_whole_and_a_slice_is_one():
    label = np.zeros((1, 9, 12), np.uint8)
    volume = viewer_volume(ct((1, 9, 12)), volume_of(label, (999, 1, 1)), label, {1: 1}, {1: 1})
    assert volume.shape == (12, 9, 1) and not unpacked(volume, "reference").any() and volume.start == [-6.0, -4.0, 0.0]


def test_more_than_255_classes_are_no_volume():
    label = np.zeros(SHAPE, int)
    with pytest.raises(UserError, match="more than 255 classes"):
        viewer_volume(None, volume_of(label, (1.0, 1.0, 1.0)), label, {1: 256}, {})


# ---- what is vendored ----------------------------------------------------------------------------------------------------


def test_niivue_is_the_file_that_its_readme_names(request):
    vendor = request.config.rootpath / "nnunetv2_cdpd/pages/vendor"
    readme, code = (vendor / "README.md").read_text(), (vendor / "niivue.js").read_bytes()
    assert hashlib.sha256(code).hexdigest() in readme
    version = re.search(r"@niivue/niivue` ([\d.]+)", readme)[1]
    assert f'"{version}"'.encode() in code and f"niivue {version}" in (vendor / "LICENSE").read_text()


def test_what_is_inlined_cannot_end_its_element_or_its_comment(request):
    pages = request.config.rootpath / "nnunetv2_cdpd/pages"
    for name in ("vendor/niivue.js", "viewer.js", "viewer_parts.js", "script.js", "vendor/LICENSE"):
        text = (pages / name).read_text().lower()
        assert "</script" not in text and "<!--" not in text, name
    assert "*/" not in (pages / "vendor/LICENSE").read_text()
    assert json.loads(json.dumps(MISSED)) == 1
