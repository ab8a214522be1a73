"""Fixtures of the tests against the released network."""

import json

import numpy as np
import pytest
import torch
from builders.parity import REFERENCES, load_recipe


@pytest.fixture(scope="module")
def recipe():
    return load_recipe()


@pytest.fixture(scope="module")
def golden():
    return json.loads((REFERENCES / "golden.json").read_text())


@pytest.fixture(scope="module")
def released(recipe, golden):
    """The released network's state dict, filled by the recipe."""
    index = torch.from_numpy(np.load(REFERENCES / "lwca.npz")["relative_position_index"])
    state_dict = {}
    for key, entry in golden["network"]["keys"].items():
        if entry["dtype"].startswith("float"):
            state_dict[key] = torch.from_numpy(recipe.tensor(key, entry["shape"]))
        else:
            state_dict[key] = index if key.endswith("relative_position_index") else torch.zeros(entry["shape"], dtype=torch.int64)
    return state_dict
