"""Real DINOv2 ViT-S/14 weights, where they are at hand: our loader and tokens against an ONNX graph of the same weights.

CDPD_TEST_DINOV2_SMALL names the file (Hugging Face layout), beside which the reference may lie; else both are looked for beside
the project.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretrained.vision import load_vision_weights
from nnunetv2_cdpd.released.network import PaperSliceEncoder

MODEL = "vit_small_patch14_dinov2.lvd142m"
BESIDE = Path(__file__).parents[3] / "shared" / "vision"
WEIGHTS = Path(os.environ.get("CDPD_TEST_DINOV2_SMALL") or BESIDE / "dinov2_small.safetensors")
PLACES = [folder / "onnx_tokens.npz" for folder in (WEIGHTS.parent, BESIDE)]
REFERENCE = next((path for path in PLACES if path.is_file()), PLACES[-1])
EVERY = 8  # channels that the reference holds

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="no DINOv2 ViT-S/14 weights (CDPD_TEST_DINOV2_SMALL=file)"),
    pytest.mark.skipif(not REFERENCE.is_file(), reason="needs ../shared/vision/onnx_tokens.npz, which is no part of the project"),
]


@pytest.fixture(scope="module")
def images():
    """Those of the reference, normalised already."""
    x = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    yy, xx = np.mgrid[:224, :224] / 224.0
    x[1] = np.stack([np.sin(6 * xx + 3 * yy), np.cos(5 * yy), xx * yy]).astype(np.float32)
    return torch.from_numpy(x)


@pytest.fixture(scope="module")
def reference():
    """Patch tokens after the final norm, (2, 16, 16, 48)."""
    return torch.from_numpy(np.load(REFERENCE)["tokens"])[:, 1:].unflatten(1, (16, 16))


def loaded(encoder_class):
    encoder = encoder_class(MODEL, num_maps=1, intensity_windows=[[0.0, 1.0]])
    assert load_vision_weights(encoder, str(WEIGHTS)) == str(WEIGHTS)
    return encoder


def deviation(tokens, reference):
    """Relative, of tokens (2, E, 16, 16)."""
    ours = tokens.permute(0, 2, 3, 1)[..., ::EVERY]
    assert ours.shape == reference.shape
    return ((ours - reference).norm() / reference.norm()).item()


def test_tokens_of_the_released_network_are_those_of_the_graph(images, reference):
    """Up to the order in which float32 numbers are added."""
    encoder = loaded(PaperSliceEncoder)
    with torch.no_grad():
        (grid,) = encoder.token_maps(images)
        tokens = encoder.vit.norm(grid.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    relative = deviation(tokens, reference)
    print(f"relative deviation {relative:.1e}")
    assert relative < 3e-6


def test_default_tokens_differ_by_how_position_embeddings_are_resampled(images, reference):
    """timm resamples them with antialiasing, Hugging Face's implementation, of which the graph was made, without."""
    encoder = loaded(SliceEncoder)
    with torch.no_grad():
        (grid,) = encoder.token_maps(images)
    relative = deviation(grid, reference)
    print(f"relative deviation {relative:.1e}")
    assert 1e-3 < relative < 0.04
