"""The control of text: every class with the embedding of another one, as plans say it and as the network gets it."""

import pytest
import torch
from builders.network import TASKS, K, make_network
from builders.planning import ANNOTATION, INTENSITIES

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planning.architecture import NetworkSettings, cdpd_architecture
from nnunetv2_cdpd.text.permutation import permuted
from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPD_permutedText
from nnunetv2_cdpd.training.encoders import fill_frozen_encoders

CONFIGURATION = {
    "patch_size": [16, 16],
    "normalization_schemes": ["CTNormalization"],
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2]]},
        "_kw_requires_import": [],
    },
}


def text_of(settings):
    return cdpd_architecture(CONFIGURATION, ANNOTATION, INTENSITIES, settings)["arch_kwargs"]["text"]


def test_plans_of_the_trainer_say_so_and_others_have_no_such_entry():
    assert text_of(nnUNetTrainerCDPD_permutedText.recipe.network)["permuted"] is True
    assert "permuted" not in text_of(NetworkSettings())


@pytest.mark.parametrize("is_permuted", [True, False])
def test_every_class_gets_the_embedding_of_another_and_tasks_their_own(tmp_path, monkeypatch, is_permuted):
    classes, tasks = torch.arange(K * 16.0).view(K, 16), torch.randn(len(TASKS), 16)
    torch.save({"class_embeddings": classes, "task_embeddings": tasks}, tmp_path / "tables.pth")
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", str(tmp_path / "tables.pth"))
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "random")
    network = make_network()
    text = {"encoder": "ViT-B-32/openai", "class_prompts": ["c"] * K, **({"permuted": True} if is_permuted else {})}
    _, origin = fill_frozen_encoders(network, {"text": text, "task": {"prompts": TASKS}}, str(tmp_path / "cache"))
    assert torch.equal(network.class_text.embeddings, classes[permuted(K)] if is_permuted else classes)
    assert torch.equal(network.task_text.embeddings, tasks)
    assert ("every class with that of another one" in origin.line) == is_permuted


def test_learned_text_cannot_be_permuted():
    with pytest.raises(UserError, match="text cannot be permuted: .*unset CDPD_TEXT_WEIGHTS"):
        text_of(NetworkSettings(text_encoder="learned", permute_text=True))
