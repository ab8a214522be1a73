"""A checkpoint of the released size, imported: the network in the model folder gives the reference's logits."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders.parity import ABSOLUTE, REFERENCES, assert_same, errors, given
from nnunetv2.inference import predict_from_raw_data as host

from nnunetv2_cdpd.inference.models import find_trainer
from nnunetv2_cdpd.released.model_folder import import_official

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REFERENCES.is_dir(), reason="the reference outputs are not at hand"),
]


@pytest.fixture(scope="module")
def network(recipe, golden, tmp_path_factory):
    """Of a model folder, loaded as prediction loads it; DINOv2 came in the layout of transformers."""
    folder = tmp_path_factory.mktemp("released")
    shutil.copytree(REFERENCES, folder / "parity")
    subprocess.run(
        [sys.executable, "make_fake_checkpoint.py", folder / "cdpdnet.pth", "--moments"], cwd=folder / "parity", check=True
    )
    weights = {key: torch.from_numpy(recipe.tensor(key, entry["shape"])) for key, entry in golden["dino_hf"]["keys"].items()}
    torch.save(weights, folder / "pytorch_model.bin")
    imported = import_official(folder / "cdpdnet.pth", folder / "model", dinov2=folder / "pytorch_model.bin")
    # 64 tensors that are never used, and 8 indices that are computed anew, of which 2 belong to the unused fusion
    assert set(imported.dropped) >= set(golden["unused"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "recursive_find_trainer_class_by_name", find_trainer)
        predictor = host.nnUNetPredictor(device=torch.device("cpu"))
        predictor.initialize_from_trained_model_folder(str(folder / "model"), ("all",))
    shutil.rmtree(folder)
    return predictor.network.eval()


def test_imported_network_gives_the_references_logits(network, recipe):
    reference = np.load(REFERENCES / "net_small.npz")
    x = given(network, recipe, "dino.small", ("input.small", (1, 1, 32, 64, 64)), (1, 768, 32, 5, 5))
    maps = network.slice_encoder.maps
    network.token_grids = lambda x: maps
    for task in (0, 4, 10):
        with torch.no_grad():
            logits = network(x, torch.tensor([task]))[..., ::5, ::5, ::5]
        assert_same(logits, reference[f"logits.task{task}"], f"task {task}")
    assert errors(logits, reference["logits.task0"])[1] > ABSOLUTE
    del network.token_grids


def test_imported_slice_encoder_gives_the_references_tokens(network, recipe):
    """Of the four maps of the reference the network uses the last three; it takes whole groups of 14 slices, here 4 slices."""
    reference = np.load(REFERENCES / "dino.npz")
    maps = network.slice_encoder(torch.from_numpy(recipe.image("dino.input", (1, 1, 4, 96, 96))))
    for index, grid in enumerate(maps, start=1):
        assert_same(grid[:, ::4], reference[f"map.{index}"], f"map {index}")
