"""Zones of a patch: where the classes of a case can lie in nnU-Net's array, and what is impossible where."""

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_cdpd.place.model import PlaceModel
from nnunetv2_cdpd.place.references import AxisModel, Reference
from nnunetv2_cdpd.place.zones import patch_zones, preprocessed_ranges

INF = np.inf
HERE = (Reference(0.0, 0.0),) * 3


def model_of(boxes, cases=9):
    """Classes whose ranges are these boxes, (K, 3, 2) mm from the reference point, where that is known for sure."""
    margin = np.array([10.0, -10.0])  # that a range is wider than what was seen
    axes = [AxisModel(ends + margin, np.zeros(ends.shape), np.zeros(ends.shape), 1.0) for ends in np.moveaxis(boxes, 1, 0)]
    return PlaceModel(tuple("abcdef"[: len(boxes)]), (cases,) * len(boxes), None, np.zeros((2, 2)), tuple(axes))


def reading(tmp_path, shape, spacing, axes):
    """nnU-Net's properties of a file of a turned array (height, depth, side) stored with these axes."""
    image = sitk.GetImageFromArray(np.zeros(shape, np.uint8))
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(sitk.DICOMOrient(image, axes), str(tmp_path / "image.nii.gz"))
    return SimpleITKIO().read_images([str(tmp_path / "image.nii.gz")])[1]


@pytest.mark.parametrize("axes", ["LPS", "RAI"])
def test_a_box_is_where_nnunet_moves_it_by_transposing_cropping_and_resampling(axes, tmp_path):
    properties = reading(tmp_path, (10, 20, 30), (4.0, 2.0, 1.0), axes)
    box = np.array([[[8.0, 20.0], [10.0, 30.0], [3.0, INF]]])  # voxels 2 to 5, 5 to 15 and from 3 on of the turned array
    properties |= {  # transposed: side, height, depth; cropped at both ends; resampled to twice the voxels along the body
        "shape_before_cropping": (30, 10, 20),
        "bbox_used_for_cropping": [[1, 29], [2, 9], [0, 20]],
        "shape_after_cropping_and_before_resampling": (28, 7, 20),
    }
    found = preprocessed_ranges(model_of(box), HERE, properties, (2, 0, 1), (28, 14, 20))
    flipped = axes == "RAI"
    along = (9 - 5, 9 - 2) if flipped else (2, 5)
    expected = [
        (-INF, 29 - 3 - 1) if flipped else (3 - 1, INF),
        ((along[0] - 2 + 0.5) * 2 - 0.5, (along[1] - 2 + 0.5) * 2 - 0.5),
        (19 - 15, 19 - 5) if flipped else (5, 15),
    ]
    np.testing.assert_allclose(found[0], expected)


def test_without_a_reference_or_enough_cases_or_orientation_nothing_is_impossible(tmp_path):
    box = np.array([[[0.0, 4.0]] * 3])
    properties = reading(tmp_path, (10, 20, 30), (1.0, 1.0, 1.0), "LPS")
    whole = {"shape_before_cropping": (10, 20, 30), "bbox_used_for_cropping": [[0, 10], [0, 20], [0, 30]]}
    properties |= {**whole, "shape_after_cropping_and_before_resampling": (10, 20, 30)}
    lost = {key: value for key, value in properties.items() if key != "sitk_stuff"}
    for model, references, its in (
        (model_of(box), (None, None, None), properties),
        (model_of(box, cases=4), HERE, properties),
        (model_of(box), HERE, lost),
    ):
        assert np.isinf(preprocessed_ranges(model, references, its, (0, 1, 2), (10, 20, 30))).all()
    assert np.isfinite(preprocessed_ranges(model_of(box), HERE, properties, (0, 1, 2), (10, 20, 30))).all()


def test_zones_tell_every_voxel_which_classes_are_impossible_there():
    random = np.random.default_rng(0)
    starts = random.uniform(-5, 10, (6, 3))
    ranges = np.stack([starts, starts + random.uniform(0, 12, (6, 3))], 2)
    ranges[5, 1] = -INF, INF
    asked = np.array([True, True, False, True, True, True])
    patch = (slice(3, 15), slice(0, 16), slice(2, 9))  # at most 16 voxels: no block has two
    zones, impossible = patch_zones(ranges, asked, patch)
    assert zones.shape == (12, 16, 7) and zones.dtype == np.int16 and not impossible[0].any()
    voxels = np.stack(np.meshgrid(*(np.arange(side.start, side.stop) for side in patch), indexing="ij"), -1)
    inside = ((voxels[..., None, :] >= ranges[..., 0]) & (voxels[..., None, :] <= ranges[..., 1])).all(-1)
    np.testing.assert_array_equal(impossible[zones], ~inside & asked)


def test_a_range_that_ends_within_a_block_ends_with_it():
    ranges = np.array([[[5.0, 9.0], [-INF, INF], [-INF, INF]]])
    zones, impossible = patch_zones(ranges, np.array([True]), (slice(0, 33), slice(0, 1), slice(0, 2)))  # blocks of 3
    told = impossible[zones[:, 0, 0], 0]
    assert np.flatnonzero(~told).tolist() == list(range(3, 12)) and (zones[..., 0] == zones[..., 1]).all()


def test_many_classes_make_no_more_zones_than_fit():
    starts = np.random.default_rng(1).uniform(0, 60, (100, 3))
    zones, impossible = patch_zones(np.stack([starts, starts + 30], 2), np.ones(100, bool), (slice(0, 96),) * 3)
    assert 64 <= len(impossible) <= 512 and zones.max() == len(impossible) - 1
    middle = impossible[zones[48, 48, 48]]
    assert not middle[((starts <= 48) & (starts + 30 >= 48)).all(1)].any()
