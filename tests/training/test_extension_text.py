"""Text embeddings of an extension's prompts: of the encoder of the former ones, never learned beside them."""

import pytest
import torch
from builders.extended_network import extended, settings

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.pretrained.kept_embeddings import TextEmbeddings
from nnunetv2_cdpd.training.encoders import fill_frozen_encoders

ENCODER = "ViT-B-32/openai"


def network_and_kwargs():
    network, _ = extended()
    network.set_text_embeddings(torch.ones(5, 16), torch.ones(3, 16))
    network.slice_encoder.weights_set.fill_(True)
    kwargs = {"text": {"encoder": ENCODER, "class_prompts": ["c"] * 5}, "task": {"prompts": []}, "extensions": [settings([5], 4)]}
    return network, kwargs


def test_ready_embeddings_of_the_further_prompts_are_taken(tmp_path, monkeypatch):
    network, kwargs = network_and_kwargs()
    wanted = torch.arange(16.0)[None]
    TextEmbeddings(wanted, torch.zeros(1, 16), ("n",), ("t",), ENCODER).save(tmp_path / "ready.safetensors")
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", str(tmp_path / "ready.safetensors"))
    list(fill_frozen_encoders(network, kwargs, str(tmp_path / "cache")))
    extension = network.all_extensions[0]
    assert torch.equal(extension.class_text.embeddings, wanted)
    assert extension.class_text.embeddings_set
    assert torch.equal(network.class_text.embeddings, torch.ones(5, 16))


def test_learned_beside_embedded_prompts_is_refused(tmp_path, monkeypatch):
    network, kwargs = network_and_kwargs()
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", "learned")
    with pytest.raises(UserError, match="this network's embeddings are of ViT-B-32/openai"):
        list(fill_frozen_encoders(network, kwargs, str(tmp_path / "cache")))
