"""A made-up dataset of five cases, to convert."""

import pytest
from builders.conversion import write_case


@pytest.fixture
def folder(tmp_path, nnunet_folders):
    for number in range(1, 6):
        write_case(tmp_path / "mine", f"c{number}", seed=number)
    return tmp_path / "mine"
