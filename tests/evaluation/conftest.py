"""Fixtures of the tests of evaluation."""

import numpy as np
import pytest
from builders.evaluation import (
    DATASET_JSON,
    LEFT,
    LIVER,
    RIGHT,
    SPLEEN,
    write,
    write_json,
)


@pytest.fixture
def folders(tmp_path):
    """Predictions and references: case_1 perfect, case_2 misses the spleen, case_3 has kidneys of unknown side."""
    truth, predicted = tmp_path / "Dataset400_X" / "labelsTr", tmp_path / "predicted"
    write_json(truth.parent / "dataset.json", DATASET_JSON)
    write(truth / "case_1.nii.gz", {1: LIVER, 2: SPLEEN})
    write(truth / "case_2.nii.gz", {1: LIVER, 2: SPLEEN})
    write(truth / "case_3.nii.gz", {5: np.s_[2:4, 0:1, [0, 1, 7, 8]]})
    everything = {1: LIVER, 2: SPLEEN, 3: RIGHT, 4: LEFT}
    write(predicted / "case_1.nii.gz", everything)
    write(predicted / "case_2.nii.gz", {1: LIVER, 3: RIGHT})
    write(predicted / "case_3.nii.gz", everything)
    return predicted, truth
