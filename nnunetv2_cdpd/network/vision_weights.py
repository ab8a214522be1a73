"""Pretrained weights of the slice encoder: find them, read them, and never go on silently without.

Looked for in this order: the user's file, the local cache of the Hugging Face hub (where timm keeps its weights), a
download. Files are read without executing code from them. The layouts of timm, of the original DINOv2 release and of
Hugging Face transformers are understood.
"""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.online import hub_reachable
from nnunetv2_cdpd.settings import RANDOM, VISION_WEIGHTS

if TYPE_CHECKING:
    from nnunetv2_cdpd.network.slice_encoder import SliceEncoder

_FILE_NAMES = ("model.safetensors", "pytorch_model.bin")


def load_vision_weights(encoder: "SliceEncoder", choice: str | None) -> str:
    """Fill a slice encoder.

    Args:
        encoder: Its `weights_set` becomes True.
        choice: The user's: a file, "random" (keep the random initialisation), or None (cache, then download).

    Returns:
        Where the weights came from, for the log.

    Raises:
        UserError: No weights, or a file that does not hold this model's.
    """
    if choice == RANDOM:
        encoder.weights_set.fill_(True)
        return f"random initialisation of {encoder.model_name}, by explicit choice ({VISION_WEIGHTS}={RANDOM})"
    path = Path(choice).expanduser() if choice else locate_vision_weights(encoder.model_name) or _download(encoder.model_name)
    _fill(encoder.vit, _read(path), path, encoder.model_name)
    encoder.weights_set.fill_(True)
    return str(path)


def locate_vision_weights(model_name: str) -> Path | None:
    """The file of a timm model's weights in the local cache, None where it is not there; downloads nothing."""
    from huggingface_hub import try_to_load_from_cache

    repository = _repository(model_name)
    for name in _FILE_NAMES if repository else ():
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def ways_out(model_name: str) -> str:
    """What a user without weights can do, as the end of a sentence."""
    return (
        f"set {VISION_WEIGHTS} to a file of them (.safetensors, .pth), or run once where there is internet and copy the "
        f"Hugging Face cache ({_repository(model_name) or 'no hub entry'}), or set {VISION_WEIGHTS}={RANDOM} to go without pretraining"
    )


def _repository(model_name: str) -> str | None:
    import timm

    config = timm.get_pretrained_cfg(model_name)
    return config.hf_hub_id if config is not None else None


def _download(model_name: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository = _repository(model_name)
    try:
        if repository is None or not hub_reachable():
            raise FileNotFoundError("no entry on the hub" if repository is None else "the hub cannot be reached")
        return Path(hf_hub_download(repository, _FILE_NAMES[0]))
    except Exception as error:  # the hub's client raises its own, httpx's and OS errors
        raise UserError(
            f"no pretrained weights of {model_name} in the cache, and no download ({error}); {ways_out(model_name)}"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, without a wrapping `model` or `state_dict` entry."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise UserError(f"{path}: no such file; {VISION_WEIGHTS} takes a file of ViT weights or {RANDOM!r}")
    try:
        state_dict = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # safetensors, pickle and zip each have their own
        raise UserError(f"{path}: not readable as weights ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise UserError(f"{path}: holds no plain dictionary of tensors; save the model's state_dict")
    return state_dict


def _fill(vit: torch.nn.Module, state_dict: dict[str, Tensor], path: Path, model_name: str) -> None:
    state_dict = _from_transformers(state_dict)
    # timm's own conversion from original releases, and resampling of position embeddings to another size
    state_dict = sys.modules[type(vit).__module__].checkpoint_filter_fn(state_dict, vit)
    expected = vit.state_dict()
    missing = sorted(set(expected) - set(state_dict))
    wrong = sorted(k for k in set(expected) & set(state_dict) if expected[k].shape != state_dict[k].shape)
    if missing or wrong:
        first = missing[0] if missing else f"{wrong[0]} of shape {tuple(expected[wrong[0]].shape)}"
        raise UserError(
            f"{path}: these are not the weights of {model_name}, {len(missing) + len(wrong)} of {len(expected)} tensors are "
            f"missing or of another shape (first: {first})"
        )
    vit.load_state_dict({key: state_dict[key] for key in expected})


def _from_transformers(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a Hugging Face transformers Dinov2Model to timm's; other layouts are returned as they are."""
    state_dict = {key.removeprefix("dinov2."): value for key, value in state_dict.items()}
    if "embeddings.cls_token" not in state_dict:
        return state_dict
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in _TRANSFORMERS_TO_TIMM:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    for key in [key for key in renamed if ".attn.query." in key]:
        parts = [renamed.pop(key.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        renamed[key.replace(".query.", ".qkv.")] = torch.cat(parts)
    return renamed


_TRANSFORMERS_TO_TIMM = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
