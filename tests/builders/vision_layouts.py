"""Weights of timm's ViTs in the layouts of files that others publish, written down from their documented names."""

import torch


def _depth(state_dict):
    return 1 + max(int(key.split(".")[1]) for key in state_dict if key.startswith("blocks."))


def as_original(state_dict):
    """Keys of the original DINOv2 release, which also holds a mask token."""
    return {**state_dict, "mask_token": torch.zeros_like(state_dict["cls_token"][0])}


def as_transformers(state_dict):
    """Keys of Hugging Face transformers' Dinov2Model, written down from its documented module names."""
    out = {
        "embeddings.cls_token": state_dict["cls_token"],
        "embeddings.position_embeddings": state_dict["pos_embed"],
        "embeddings.mask_token": torch.zeros_like(state_dict["cls_token"][0]),
        "embeddings.patch_embeddings.projection.weight": state_dict["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state_dict["patch_embed.proj.bias"],
        "layernorm.weight": state_dict["norm.weight"],
        "layernorm.bias": state_dict["norm.bias"],
    }
    for n in range(_depth(state_dict)):
        theirs, ours = f"encoder.layer.{n}.", f"blocks.{n}."
        for kind in ("weight", "bias"):
            out |= {f"{theirs}{norm}.{kind}": state_dict[f"{ours}{norm}.{kind}"] for norm in ("norm1", "norm2")}
            out |= {f"{theirs}mlp.{fc}.{kind}": state_dict[f"{ours}mlp.{fc}.{kind}"] for fc in ("fc1", "fc2")}
            parts = state_dict[f"{ours}attn.qkv.{kind}"].chunk(3)
            out |= {
                f"{theirs}attention.attention.{name}.{kind}": part.clone() for name, part in zip(("query", "key", "value"), parts)
            }
            out[f"{theirs}attention.output.dense.{kind}"] = state_dict[f"{ours}attn.proj.{kind}"]
        out |= {f"{theirs}layer_scale{i}.lambda1": state_dict[f"{ours}ls{i}.gamma"] for i in (1, 2)}
    return out


def as_transformers_5(state_dict):
    """transformers 5 renames the attention in memory; a file saved from there by hand has these names."""
    names = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj"}
    names |= {"attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}
    out = {}
    for key, value in as_transformers(state_dict).items():
        for old, new in names.items():
            key = key.replace(old, new)
        out[f"dinov2.{key}"] = value
    return out


def as_dinov3_release(state_dict):
    """Keys of the original DINOv3 release, with what it stores beside weights; k's biases are stored and never added."""
    out = {"storage_tokens": state_dict["reg_token"], "mask_token": torch.zeros_like(state_dict["cls_token"][0])}
    out["rope_embed.periods"] = torch.ones(2)
    for key, value in state_dict.items():
        if key.endswith("attn.q_bias"):
            other = state_dict[key.replace("q_bias", "v_bias")]
            out[key.replace("q_bias", "qkv.bias")] = torch.cat([value, torch.ones_like(value), other])
            out[key.replace("q_bias", "qkv.bias_mask")] = torch.full((3 * len(value),), torch.nan)
        elif not key.endswith(("v_bias", "k_bias", "reg_token")):
            out[key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    return out


_DINOV3_HUB = (
    ("blocks.", "layer."), ("gamma_1", "layer_scale1.lambda1"), ("gamma_2", "layer_scale2.lambda1"),
    ("attn.proj", "attention.o_proj"), ("attn.q_bias", "attention.q_proj.bias"), ("attn.v_bias", "attention.v_proj.bias"),
    ("mlp.fc1", "mlp.up_proj"), ("mlp.fc2", "mlp.down_proj"), ("patch_embed.proj", "embeddings.patch_embeddings"),
    ("cls_token", "embeddings.cls_token"), ("reg_token", "embeddings.register_tokens"),
)  # fmt: skip


def as_dinov3_hub(state_dict):
    """Keys of Hugging Face transformers' DINOv3ViTModel."""
    out = {}
    for key, value in state_dict.items():
        for old, new in _DINOV3_HUB:
            key = key.replace(old, new)
        if "attn.qkv" in key:
            names = (key.replace("attn.qkv", f"attention.{name}") for name in ("q_proj", "k_proj", "v_proj"))
            out |= dict(zip(names, value.chunk(3)))
        elif not key.endswith("k_bias"):
            out[key] = value
    return out


def as_training(state_dict, prefix="backbone."):
    """A checkpoint of DINOv2's or DINOv3's training: the student, and the teacher that is published."""
    teacher = {f"{prefix}{key}": value for key, value in state_dict.items()}
    student = {key: value + 1 for key, value in teacher.items()}
    heads = {f"{name}.mlp.0.weight": torch.ones(3, 3) for name in ("dino_head", "ibot_head")}
    return {"student": {**student, **heads}, "teacher": {**teacher, **heads}, "iteration": 7}


def in_chunks(state_dict, of):
    """Blocks as DINOv2's training names them where it shards chunks of so many."""
    out = {}
    for key, value in state_dict.items():
        number = key.split(".")[1] if key.startswith("blocks.") else None
        out[key if number is None else key.replace("blocks.", f"blocks.{int(number) // of}.", 1)] = value
    return out


def as_open_clip(state_dict):
    """A CLIP model of open_clip whose image tower is timm's: tower, projection and text."""
    out = {f"visual.trunk.{key}": value for key, value in state_dict.items()}
    out |= {"visual.head.proj.weight": torch.ones(5, len(state_dict["norm.weight"])), "logit_scale": torch.tensor(1.0)}
    return {**out, "text.transformer.embeddings.word_embeddings.weight": torch.ones(3, 3), "text.proj.0.weight": torch.ones(3, 3)}
