"""Pretrained weights of the slice encoder: find them, read them, and never go on silently without.

Looked for in this order: the user's file, the local cache of the Hugging Face hub (where timm keeps its weights), that of
torch.hub (where original releases come to lie), a download. Files are read without executing code from them.
"""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.pretrained.choices import AUTO, RANDOM, VISION_WEIGHTS
from nnunetv2_cdpd.pretrained.encoders import ENCODERS
from nnunetv2_cdpd.pretrained.hub import hub_reachable
from nnunetv2_cdpd.pretrained.torch_files import why_unreadable
from nnunetv2_cdpd.pretrained.vision_layouts import backbone_of, to_timm

_FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
_TOKEN_PARTS = ("blocks.", "norm_pre.", "pos_embed")  # parts of a ViT without which its tokens are others; a classifier is none


class FrozenEncoder(Protocol):
    """What weights are read into: network.slice_encoder.SliceEncoder, for one.

    weights_name: timm's, or of an encoder that was named (encoders.py).
    weights_set: Whether weights were given; it travels with them in a checkpoint.
    """

    weights_name: str
    vit: nn.Module
    weights_set: Tensor


def load_vision_weights(encoder: FrozenEncoder, choice: str | None) -> str:
    """Fill a slice encoder.

    Args:
        encoder: Its `weights_set` becomes True.
        choice: The user's: a file, "random" (keep the random initialisation), or None or "auto" (cache, then download).

    Returns:
        Where the weights came from, for the log.

    Raises:
        UserError: No weights, or a file that does not hold this model's.
    """
    if choice == RANDOM:
        encoder.weights_set.fill_(True)
        return f"random initialisation of {encoder.weights_name}, by explicit choice ({VISION_WEIGHTS}={RANDOM})"
    name = encoder.weights_name
    path = Path(choice).expanduser() if choice and choice != AUTO else locate_vision_weights(name) or _download(name)
    _fill(encoder.vit, _read(path), path, name)
    encoder.weights_set.fill_(True)
    return str(path)


def locate_vision_weights(name: str) -> Path | None:
    """The file of an encoder's weights (timm's, or a named one's) in the local caches, None without; downloads nothing."""
    from huggingface_hub import try_to_load_from_cache

    repository = _repository(name)
    for file_name in _file_names(name):
        path = try_to_load_from_cache(repository, file_name) if repository else None
        if isinstance(path, str):
            return Path(path)
    url = _pretrained_config(name, "url")
    original = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1] if url else None
    return original if original and original.is_file() else None


def ways_to_vision_weights(name: str) -> str:
    """What a user without weights can do, as the end of a sentence."""
    files = ", ".join(_file_names(name)) if name in ENCODERS else ".safetensors, .pth"
    return (
        f"set {VISION_WEIGHTS} to a file of them ({files}), or run once where there is internet and copy the "
        f"Hugging Face cache ({_repository(name) or 'no hub entry'}), or set {VISION_WEIGHTS}={RANDOM} to go without "
        "pretraining"
    )


def _repository(name: str) -> str | None:
    return ENCODERS[name].repository if name in ENCODERS else _pretrained_config(name, "hf_hub_id")


def _file_names(name: str) -> tuple[str, ...]:
    return tuple(file_name for file_name, _ in ENCODERS[name].files) if name in ENCODERS else _FILE_NAMES


def _pretrained_config(name: str, entry: str) -> str | None:
    import timm

    return None if name in ENCODERS else getattr(timm.get_pretrained_cfg(name), entry, None)


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository = _repository(name)
    try:
        if repository is None or not hub_reachable():
            raise UserError("no entry on the hub" if repository is None else "the hub cannot be reached")
        return Path(hf_hub_download(repository, _file_names(name)[0]))
    except Exception as error:  # the hub's client raises its own, httpx's and OS errors
        raise UserError(
            f"no pretrained weights of {name} in the cache, and no download ({reason(error)}); {ways_to_vision_weights(name)}"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file's backbone, without a wrapping `model` or `state_dict` entry."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise UserError(f"{path}: no such file; {VISION_WEIGHTS} takes a file of ViT weights or {RANDOM!r}")
    try:
        state_dict = load_state_dict(str(path), weights_only=True)
        state_dict = backbone_of(state_dict) if isinstance(state_dict, dict) else state_dict
    except Exception as error:  # safetensors, pickle and zip each have their own
        raise UserError(f"{path}: not readable as weights, {why_unreadable(error)}; copy it again or give another") from error
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise UserError(f"{path}: holds no plain dictionary of tensors; save the model's state_dict")
    return state_dict


def _fill(vit: torch.nn.Module, state_dict: dict[str, Tensor], path: Path, model_name: str) -> None:
    expected = vit.state_dict()
    try:
        state_dict = to_timm(state_dict, vit)
    except Exception as error:  # timm meets names or shapes of another model
        raise UserError(f"{path}: these are not the weights of {model_name} ({reason(error)})") from error
    missing = sorted(set(expected) - set(state_dict))
    wrong = sorted(k for k in set(expected) & set(state_dict) if expected[k].shape != state_dict[k].shape)
    if missing or wrong:
        first = missing[0] if missing else f"{wrong[0]} of shape {tuple(expected[wrong[0]].shape)}"
        raise UserError(
            f"{path}: these are not the weights of {model_name}, {len(missing) + len(wrong)} of {len(expected)} tensors are "
            f"missing or of another shape (first: {first})"
        )
    further = sorted(key for key in set(state_dict) - set(expected) if key.startswith(_TOKEN_PARTS))
    if further:
        raise UserError(f"{path}: these are not the weights of {model_name}, which has no {further[0]}")
    broken = [key for key in expected if not torch.isfinite(state_dict[key]).all()]
    if broken:
        raise UserError(f"{path}: {broken[0]} holds values that are no finite numbers; is the file damaged? Copy it again")
    vit.load_state_dict({key: state_dict[key] for key in expected})
