"""Released weights -> ours: the 324 entries of the released network's state dict under the names of PaperCDPDNet.

A pure renaming, apart from four things: query, key and value of a cross-attention come as one matrix and are two here; text
modulations keep an axis of prompts that the release flattens; convolutions that have a bias here and none there get zeros;
and what never reaches the released network's output is dropped.

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet). DINOv2 is not in its checkpoint.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from nnunetv2_cdpd.errors import UserError

_STAGES = 6
_FUSIONS = (1, 2, 3)  # the released index; the encoder stage is one more
_FOREIGN = "these are not the weights of the released CDPDNet"

UNUSED = (  # pattern of released keys, why they are not needed
    (r"conv_blocks_context\.0\.blocks\.0\.conv_[24]\.", "first convolutions for 2 or 4 input channels, CT has one"),
    (r"seg_outputs\.[0-3]\.", "outputs of the lower decoder stages, computed but never returned or trained"),
    (r"(adaptors|crossatt)\.0\.", "a fusion that is built and never run"),
    (r"crossatt\.\d\.transformer\.norm[1-3]\.", "norms that are built and never run"),
    (r"crossatt\.\d\..*\.relative_position_index$", "constants, computed anew"),
)


@dataclass(frozen=True)
class ConvertedWeights:
    """Weights under our names, and what was left out.

    state_dict: All entries of PaperCDPDNet but the slice encoder's.
    dropped: Reason for each released key that has no place in ours.
    """

    state_dict: dict[str, Tensor]
    dropped: dict[str, str]


def convert_released(released: Mapping[str, Tensor]) -> ConvertedWeights:
    """Rename the released network's weights to PaperCDPDNet's; tensors are not copied.

    Args:
        released: State dict, with or without the `module.` that data-parallel training puts before every key.

    Raises:
        UserError: Weights are missing, or there are others than the released network's.
    """
    released = dict(released)
    consume_prefix_in_state_dict_if_present(released, "module.")
    names = dict(_renamed())
    dropped = {key: reason for key in released for pattern, reason in UNUSED if re.match(pattern, key)}
    missing = [key for key in (*names, *_reshaped()) if key not in released]
    unknown = [key for key in released if key not in names and key not in _reshaped() and key not in dropped]
    if missing or unknown:
        told = [f"{len(keys)} {what} (first: {keys[0]})" for keys, what in ((missing, "missing"), (unknown, "unknown")) if keys]
        raise UserError(f"{_FOREIGN}: of its {len(names) + len(_reshaped())} used tensors {', '.join(told)}")
    ours = {name: released[key] for key, name in names.items()}
    ours |= dict(_attention_and_modulation(released))
    ours |= dict(_zero_biases_and_unused_heads(released))
    ours |= {f"{part}.embeddings_set": torch.tensor(True) for part in ("class_text", "task_text")}
    return ConvertedWeights({**ours, **_second_names_of_convolution_blocks(ours)}, dropped)


def _renamed() -> Iterator[tuple[str, str]]:
    """(released key, our key) of every tensor that keeps its values and shape."""
    for theirs, ours, text in (
        ("organ_embedding", "class_text", "text_to_vision"),
        ("task_embedding", "task_text", "task_to_vision"),
    ):
        yield theirs, f"{ours}.embeddings"
        yield from _both(f"{text}", f"{ours}.project.0")
    for stage in range(_STAGES):
        for i in (0, 1):
            deepest = stage == _STAGES - 1
            theirs = f"conv_blocks_context.{stage}.{i}.blocks.0" if deepest else f"conv_blocks_context.{stage}.blocks.{i}"
            yield from _block(theirs, f"encoder.stages.{stage}.0.convs.{i}", "conv_1" if stage == i == 0 else "conv")
            if not deepest:
                yield from _block(f"conv_blocks_localization.{stage}.{i}.blocks.0", f"decoder.stages.{stage}.convs.{i}")
    for stage in range(_STAGES - 1):
        yield f"tu.{stage}.weight", f"decoder.transpconvs.{stage}.weight"
    yield f"seg_outputs.{_STAGES - 2}.weight", f"decoder.seg_layers.{_STAGES - 2}.weight"
    for theirs, ours, number in (("intermedia_conv", "reduce", 2), ("fusion_layer", "fuse", 3)):
        for i in range(number):
            yield from _block(f"{theirs}.blocks.{i}", f"task_prompt.{ours}.convs.{i}")
    for fusion in _FUSIONS:
        yield from _adaptor(f"adaptors.{fusion}.enc", f"adaptors.{fusion + 1}")
        yield from _both(f"crossatt.{fusion}.transformer.norm0", f"fusions.{fusion + 1}.norm")
        for i in (0, 1):
            yield from _attention_block(f"crossatt.{fusion}.transformer.layers.0.blocks.{i}", f"fusions.{fusion + 1}.blocks.{i}")
    for theirs, ours in _modulations().items():
        yield f"{theirs}.gamma.bias", f"{ours}.scale_bias"
        yield f"{theirs}.beta.bias", f"{ours}.shift_bias"


def _both(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for kind in ("weight", "bias"):
        yield f"{theirs}.{kind}", f"{ours}.{kind}"


def _block(theirs: str, ours: str, convolution: str = "conv") -> Iterator[tuple[str, str]]:
    yield from _both(f"{theirs}.{convolution}", f"{ours}.conv")
    yield from _both(f"{theirs}.instnorm", f"{ours}.norm")


def _adaptor(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for index, part in enumerate(("slices", "context.0", "context.1")):
        yield from _both(f"{theirs}.{index}", f"{ours}.{part}")
    for statistic in ("running_mean", "running_var", "num_batches_tracked"):
        yield f"{theirs}.2.{statistic}", f"{ours}.context.1.{statistic}"


def _attention_block(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    yield f"{theirs}.attn.relative_position_bias_table", f"{ours}.position_bias"
    parts = (("norm1", "norm1"), ("norm2", "norm2"), ("attn.proj", "project"), ("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.2"))
    for their_part, our_part in parts:
        yield from _both(f"{theirs}.{their_part}", f"{ours}.{our_part}")


def _modulations() -> dict[str, str]:
    """Released name -> ours of every text modulation."""
    stages = {f"deep_film_block.{stage}": f"modulations.{stage}" for stage in range(_STAGES - 1)}
    return {**stages, "promt_film_block": "task_prompt.modulate"}


def _attention_matrices() -> dict[str, str]:
    """Released name of query, key and value in one matrix -> our block."""
    return {
        f"crossatt.{fusion}.transformer.layers.0.blocks.{i}.attn.qkv.weight": f"fusions.{fusion + 1}.blocks.{i}"
        for fusion in _FUSIONS
        for i in (0, 1)
    }


def _reshaped() -> list[str]:
    """Released keys that `_attention_and_modulation` reads."""
    modulations = [f"{name}.{term}.weight" for name in _modulations() for term in ("gamma", "beta")]
    return [*_attention_matrices(), *modulations]


def _attention_and_modulation(released: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for key, ours in _attention_matrices().items():
        matrix = released[key]  # (3 C, C): query, key, value
        channels = matrix.shape[1]
        yield f"{ours}.query.weight", matrix[:channels]
        yield f"{ours}.key_value.weight", matrix[channels:]
    for theirs, ours in _modulations().items():
        text, project = ("organ", "text") if "deep" in theirs else ("task", "task")
        num_prompts = len(released[f"{text}_embedding"])
        text_channels = len(released[f"{project}_to_vision.bias"])
        for term, name in (("gamma", "scale"), ("beta", "shift")):
            weight = released[f"{theirs}.{term}.weight"]
            if weight.shape[1] != num_prompts * text_channels:
                raise UserError(
                    f"{_FOREIGN}: {theirs}.{term}.weight of shape {tuple(weight.shape)} does not take {num_prompts} prompts of "
                    f"{text_channels} text features"
                )
            yield f"{ours}.{name}", weight.unflatten(1, (num_prompts, text_channels))


def _zero_biases_and_unused_heads(released: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Biases that the release does not have, and heads for deep supervision, which it does not train."""
    num_classes = len(released[f"seg_outputs.{_STAGES - 2}.weight"])
    for stage in range(_STAGES - 1):
        transposed = released[f"tu.{stage}.weight"]  # (C below, C, ...)
        yield f"decoder.transpconvs.{stage}.bias", transposed.new_zeros(transposed.shape[1])
        yield f"decoder.seg_layers.{stage}.bias", transposed.new_zeros(num_classes)
        if stage < _STAGES - 2:
            yield f"decoder.seg_layers.{stage}.weight", transposed.new_zeros(num_classes, transposed.shape[1], 1, 1, 1)


def _second_names_of_convolution_blocks(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """nnU-Net's convolution blocks list their layers by name and in order: `conv` and `norm` are all_modules 0 and 1."""
    block = re.compile(r"(.*\.convs\.\d+)\.(conv|norm)\.(weight|bias)$")
    found = ((block.match(key), value) for key, value in ours.items())
    return {f"{m[1]}.all_modules.{0 if m[2] == 'conv' else 1}.{m[3]}": value for m, value in found if m}
