"""Reference outputs of the released network, where they are at hand (beside the project, ../shared/parity)."""

import importlib.util
from pathlib import Path

import torch

REFERENCES = Path(__file__).parents[3] / "shared" / "parity"
RELATIVE, ABSOLUTE = 2e-5, 2e-4  # the reference's own noise in float32 is 1.9e-5; tasks differ by 0.05 at most


def load_recipe():
    spec = importlib.util.spec_from_file_location("recipe", REFERENCES / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def errors(out, reference):
    out, reference = out.double(), torch.as_tensor(reference).double()
    assert out.shape == reference.shape
    return ((out - reference).norm() / reference.norm()).item(), (out - reference).abs().max().item()


def assert_same(out, reference, name=""):
    relative, absolute = errors(out, reference)
    assert relative <= RELATIVE and absolute <= ABSOLUTE, f"{name}: relative {relative:.2e}, absolute {absolute:.2e}"


def given(network, recipe, name, image, shape):
    """Image and token maps of the references; the network does not use map 0."""
    network.slice_encoder.maps = [torch.from_numpy(recipe.features(f"{name}.{i}", shape)) for i in (1, 2, 3)]
    return torch.from_numpy(recipe.image(*image))
