"""What the tests of merging start from."""

import pytest
from builders.merge import make_two


@pytest.fixture
def two(raw):
    """nnUNet_raw with Dataset301_LITS and Dataset302_ORGANS, which share the liver."""
    return make_two(raw)
