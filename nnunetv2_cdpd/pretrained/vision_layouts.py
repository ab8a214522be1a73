"""Key layouts of ViT checkpoint files: whatever a file's names, out come timm's.

Understood are timm's own, those of the original DINOv2 and DINOv3 releases (timm converts them), and those of Hugging Face
transformers' ViT, DINOv2 (with and without registers) and DINOv3, which are renamed to the original release's here.
"""

import contextlib
import io
import re
import sys

import torch
from torch import Tensor, nn

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


def to_timm(state_dict: dict[str, Tensor], vit: nn.Module) -> dict[str, Tensor]:
    """Weights under the names that timm gives this ViT's; position embeddings are resampled where its grid is another.

    Args:
        state_dict: Of a checkpoint file, in any of the layouts above; not changed.
        vit: Model made by timm.
    """
    state_dict = _original_from_transformers(dict(state_dict))
    convert = sys.modules[type(vit).__module__].checkpoint_filter_fn  # timm's own, from original releases
    with contextlib.redirect_stdout(io.StringIO()):  # prints the biases that DINOv3 has and the model not
        return convert(state_dict, vit)


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
