"""A checkpoint laid out like the released one, of a network as narrow as it gets, and a ViT to go with it."""

import collections
from pathlib import Path

import timm
import torch

from nnunetv2_cdpd.network import PaperCDPDNet
from nnunetv2_cdpd.released.preset import KW_REQUIRES_IMPORT, PAPER_VISION_MODEL, paper_arch_kwargs
from nnunetv2_cdpd.released.state_dict import _attention_matrices, _modulations, _renamed

FEATURES = (4, 4, 8, 8, 12, 12)
VISION_KWARGS = {"embed_dim": 24, "depth": 4, "num_heads": 2}


def tiny_network(seed: int = 0, **changes) -> PaperCDPDNet:
    """The paper's network, narrow, with no bias where the release has none; changes replace arguments of the preset."""
    kwargs = {**paper_arch_kwargs(), "features_per_stage": list(FEATURES)}
    for name in KW_REQUIRES_IMPORT:
        kwargs[name] = kwargs[name] and getattr(torch.nn, kwargs[name].rsplit(".", 1)[1])
    kwargs["vision"] = {**kwargs["vision"], "model_kwargs": VISION_KWARGS}
    kwargs["text"] = {**kwargs["text"], "embed_dim": 16}
    kwargs.update(changes)
    torch.manual_seed(seed)
    network = PaperCDPDNet(1, len(kwargs["text"]["class_prompts"]), **kwargs).eval()
    for convolution in (*network.decoder.transpconvs, *network.decoder.seg_layers):
        torch.nn.init.zeros_(convolution.bias)
    return network


def released_state_dict(network: PaperCDPDNet) -> dict[str, torch.Tensor]:
    """A network's weights under the released names, with some of the parts that the release never uses."""
    ours = network.state_dict()
    weights = {theirs: ours[name] for theirs, name in _renamed()}
    for theirs, block in _attention_matrices().items():
        weights[theirs] = torch.cat([ours[f"{block}.query.weight"], ours[f"{block}.key_value.weight"]])
    for theirs, name in _modulations().items():
        weights[f"{theirs}.gamma.weight"] = ours[f"{name}.scale"].flatten(1)
        weights[f"{theirs}.beta.weight"] = ours[f"{name}.shift"].flatten(1)
    weights["seg_outputs.0.weight"] = torch.ones(len(ours["class_text.embeddings"]), FEATURES[-1], 1, 1, 1)
    weights["adaptors.0.enc.0.weight"] = torch.ones(1)
    weights["crossatt.3.transformer.norm2.bias"] = torch.ones(1)
    weights["conv_blocks_context.0.blocks.0.conv_4.bias"] = torch.ones(1)
    return weights


def write_checkpoint(path: Path, network: PaperCDPDNet, prefix: str = "module.") -> Path:
    """A file of net, optimizer, scheduler and epoch, as the released training saves it."""
    net = collections.OrderedDict((prefix + key, value) for key, value in released_state_dict(network).items())
    scheduler = {"warmup_epochs": 50, "max_epochs": 1000, "base_lrs": [4e-4], "last_epoch": 11, "_step_count": 12}
    torch.save({"net": net, "optimizer": {"state": {}, "param_groups": []}, "scheduler": scheduler, "epoch": 10}, path)
    return path


def write_vision_weights(path: Path) -> Path:
    """Weights of the ViT, as timm saves them."""
    torch.manual_seed(7)
    torch.save(timm.create_model(PAPER_VISION_MODEL, num_classes=0, dynamic_img_size=True, **VISION_KWARGS).state_dict(), path)
    return path
