"""Key layouts of ViT checkpoint files: whatever a file's names, out come timm's.

Understood are timm's own, those of the original DINOv2 and DINOv3 releases (timm converts them), with the teacher's and the
student's names of their trainings, those of Hugging Face transformers' ViT, DINOv2 (with and without registers) and DINOv3,
which are renamed to the original release's here, and the image towers of open_clip's models.

timm resamples patches of another size, and leaves out biases and register tokens that a model has no place for. Such weights
are another model's, so they are refused before.
"""

import contextlib
import io
import re
import sys
from typing import Any

import torch
from torch import Tensor

from nnunetv2_cdpd.errors import UserError

_BACKBONES = ("teacher", "student")  # in a checkpoint of a training, the better one first
_PATCHES = "patch_embed.proj.weight"  # of timm, the original releases, open_clip's towers of timm
_OTHER_PATCHES = "visual.conv1.weight"  # of OpenAI's CLIP
_REGISTERS = ("register_tokens", "storage_tokens", "reg_token")
_CLASS_TOKEN = "embeddings.cls_token"  # of every transformers layout, behind the name of a wrapping model if there is one

# transformers -> original release, in this order
_RENAMED = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
    (r"^(?:model\.)?(?:encoder\.)?layer\.", "blocks."),
    (r"\.attention\.(?:attention\.)?(?:q_proj|query)\.", ".attn.q."),
    (r"\.attention\.(?:attention\.)?(?:k_proj|key)\.", ".attn.k."),
    (r"\.attention\.(?:attention\.)?(?:v_proj|value)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"^layernorm\.", "norm."),
)
_GATED_MLP = ((r"\.gate_proj\.", ".w1."), (r"\.up_proj\.", ".w2."), (r"\.down_proj\.", ".w3."))
_PLAIN_MLP = ((r"\.up_proj\.", ".fc1."), (r"\.down_proj\.", ".fc2."))


def backbone_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of a training holds of its backbone, of the teacher where there is one, by the names of the backbone.

    Args:
        checkpoint: Content of a file; not changed.
    """
    for name in _BACKBONES:
        if isinstance(checkpoint.get(name), dict):
            checkpoint = checkpoint[name]
            break
    prefixes = [key.removesuffix(_PATCHES) for key in checkpoint if key.endswith(_PATCHES)]
    if not prefixes:
        return checkpoint
    prefix = min(prefixes, key=lambda prefix: (prefix != "", *(name not in prefix for name in _BACKBONES)))
    own = {key.removeprefix(prefix): value for key, value in checkpoint.items() if key.startswith(prefix)}
    return {re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", key): value for key, value in own.items()}  # blocks in chunks


def to_timm(state_dict: dict[str, Tensor], vit: Any) -> dict[str, Tensor]:
    """Weights under the names that timm gives this ViT's; position embeddings are resampled where its grid is another.

    Args:
        state_dict: Of a backbone, in any of the layouts above; not changed.
        vit: Model made by timm.

    Raises:
        UserError: It is of a ViT of another patch size, or with other register tokens or biases; the message ends a sentence.
    """
    state_dict = _original_from_transformers(dict(state_dict))
    _check_same_architecture(state_dict, vit)
    convert = sys.modules[type(vit).__module__].checkpoint_filter_fn  # timm's own, from original releases
    with contextlib.redirect_stdout(io.StringIO()):  # prints the biases that DINOv3 has and the model not
        return convert(state_dict, vit)


def _check_same_architecture(state_dict: dict[str, Tensor], vit: Any) -> None:
    """Compare what timm would make fit; missing tensors and those of another shape are told later."""
    patches = next((value for key, value in state_dict.items() if key in (_PATCHES, _OTHER_PATCHES)), None)
    if patches is not None:
        patch, (height, width) = round((patches[0].numel() / 3) ** 0.5), vit.patch_embed.patch_size  # some are (E, 3 * patch^2)
        if (height, width) != (patch, patch):
            raise UserError(f"their patches have {patch} x {patch} pixels, and its {height} x {width}")
    own = vit.state_dict()
    registers = next((value.shape[1] for key, value in state_dict.items() if key in _REGISTERS), 0)
    places = own["reg_token"].shape[1] if "reg_token" in own else 0
    if registers != places:
        raise UserError(f"they have {registers} register tokens, and it has {places}")
    if not any(key.endswith(("qkv.bias", "q_bias", "q_proj.bias")) for key in own):
        for key, value in state_dict.items():
            if key.endswith("attn.qkv.bias") and any(part.any() for part in value.chunk(3)[::2]):  # keys' are never added
                raise UserError(f"their {key} is not 0, and it has none")


def _original_from_transformers(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of the original release for those of transformers; other layouts as they are."""
    prefix = next((key.removesuffix(_CLASS_TOKEN) for key in state_dict if key.endswith(_CLASS_TOKEN)), None)
    if prefix is None:
        return state_dict
    state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    dinov2 = "embeddings.position_embeddings" in state_dict  # DINOv3 has rotary ones, which are not stored
    registers = (r"^embeddings\.register_tokens$", "register_tokens" if dinov2 else "storage_tokens")
    mlp = _GATED_MLP if any(".gate_proj." in key for key in state_dict) else _PLAIN_MLP
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in (*_RENAMED, registers, *mlp):
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return _with_joined_attention(renamed)


def _with_joined_attention(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value as one tensor, as the original release holds them; DINOv3's keys have no bias, so zeros."""
    joined = {key: value for key, value in state_dict.items() if not re.search(r"\.attn\.[qkv]\.", key)}
    for key, query in state_dict.items():
        if ".attn.q." in key:
            parts = [state_dict.get(key.replace(".q.", f".{part}."), torch.zeros_like(query)) for part in "kv"]
            joined[key.replace(".q.", ".qkv.")] = torch.cat([query, *parts])
    return joined
