"""Label maps of the user: what is refused, and how it is told."""

import numpy as np
import pytest

from nnunetv2_cdpd.annotation import read_annotation
from nnunetv2_cdpd.datasets.label_maps import checked_label_map, label_values
from nnunetv2_cdpd.errors import UserError

ANNOTATION = read_annotation({"labels": {"background": 0, "liver": 1, "spleen": 3}})


def as_read(*values):
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def test_declared_values_become_integers():
    found = checked_label_map(as_read(0, 3, 1, 1), ANNOTATION, "x.nii.gz")
    assert found.dtype == np.int32 and found.tolist() == [[[0, 3, 1, 1]]]
    assert checked_label_map(as_read(2), ANNOTATION, "x.nii.gz", strict=False).tolist() == [[[2]]]


def test_values_within_rounding_of_an_integer_are_that_integer():
    scaled = np.float32(255) * np.float32(1 / 255)
    near = [0.99999, 3.00001, float(np.nextafter(np.float32(3), np.float32(4))), float(scaled)]
    assert checked_label_map(as_read(*near), ANNOTATION, "x.nii.gz").tolist() == [[[1, 3, 3, 1]]]
    large = np.nextafter(np.float32(60000), np.float32(0))
    assert label_values(as_read(large), "x").tolist() == [60000]
    with pytest.raises(UserError, match=r"no integers \(1e\+30\)"):
        label_values(as_read(1e30), "x")


@pytest.mark.parametrize(
    "values, strict, message",
    [
        ((0, 2), True, r"x.nii.gz holds the value 2, which `labels` .*; declare it \(\"NAME\": 2\), mend"),
        ((9, 0, -1, 8), True, r"holds the values -1, 8, 9, which"),
        (range(3, 12), True, r"holds the values 4, 5, 6, 7, 8 \.\.\., which"),
        ((2, 4), False, r"holds the value 4, which"),
        ((0, -1), False, r"holds the value -1, which"),
        ((0, 0.5, np.nan), True, r"x.nii.gz holds values that are no integers \(0.5, nan\)"),
        ((np.inf,), False, r"no integers \(inf\)"),
    ],
)
def test_what_is_no_label_map_is_named(values, strict, message):
    with pytest.raises(UserError, match=message):
        checked_label_map(as_read(*values), ANNOTATION, "x.nii.gz", strict)


def test_several_channels_are_refused():
    with pytest.raises(UserError, match="x.nii.gz has 2 channels, not one"):
        checked_label_map(np.zeros((2, 1, 3, 4), np.float32), ANNOTATION, "x.nii.gz")
