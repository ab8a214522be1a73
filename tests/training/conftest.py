"""nnU-Net's folders with the merged tiny dataset and a plain one, for all tests of a module."""

import pytest
from builders.training import training_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with training_folders(tmp_path_factory.mktemp("trainer")) as root:
        yield root
