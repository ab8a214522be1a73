"""What the tests of merging start from."""

import pytest
from builders.merge import make_dataset, make_two


@pytest.fixture
def two(raw):
    """nnUNet_raw with Dataset301_LITS and Dataset302_ORGANS, which share the liver."""
    return make_two(raw)


@pytest.fixture
def named(raw):
    """nnUNet_raw with Dataset301_SIDES and Dataset302_OTHER, which say left and right kidney in two ways."""
    make_dataset(raw / "Dataset301_SIDES", {"kidney_left": 1, "kidney_right": 2}, ["a1", "a2"], licence="CC0")
    make_dataset(raw / "Dataset302_OTHER", {"Kidney_R": 1, "Left Kidney": 2, "tumour": 3}, ["b1"])
    return raw
