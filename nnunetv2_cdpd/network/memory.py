"""Memory of a training step, counted: for nnU-Net's planning of patch and batch size, and for the choice of what is fused.

The unit is nnU-Net's, one output value of a convolution, for one sample; nnU-Net knows how many fit into a GPU. Counting what
autograd keeps of nnU-Net's U-Nets gives about two values per unit (the convolution's output and what follows its norm), so
what the added parts keep is divided by that. Text modulation adds nothing that grows with the patch, and the loss keeps nothing
but the logits and their gradient (training/masked_sums.py), which the decoder's count covers.

The frozen encoder keeps nothing but its tokens for the backward pass. While it runs, nothing else of the step is there yet, so
its working memory counts only where it is larger than all that is kept later.

tests/network/test_memory.py compares the counts with what autograd keeps on a CPU;
benchmarks/planner_memory.py measures on a GPU.
"""

from collections.abc import Sequence

import numpy as np

from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.network.cross_attention import WINDOW
from nnunetv2_cdpd.network.vision_settings import CLOSED

KEPT_PER_UNIT = 1.93  # values that autograd keeps of a plain U-Net, per unit
# Values that autograd keeps of a fused stage: fitted to cross-attentions of many sizes and widths, within 1 %.
KEPT_PER_CHANNEL = 26.4  # per voxel and channel: norms, projection, MLP
KEPT_PER_PADDED_CHANNEL = 9.7  # per voxel of whole windows and channel: features, tokens, query, key, value, answer
KEPT_PER_PAIR = 9.5  # per voxel of whole windows and voxel that it sees: attention of every head
# Values per token and embedding width at once in a block: residual, norm, hidden layer of the MLP before and after.
VIT_WORKING = 10
MAX_FUSION_SHARE = 1 / 3  # of the U-Net's units


def feature_map_units(network: CDPDNet, patch_size: Sequence[int], fused_stages: Sequence[int], slice_step: int) -> int:
    """Units of one sample if these stages are fused, with one slice per `slice_step` voxels; whatever the network itself has."""
    kept = unet_units(network, patch_size) + fusion_units(network, patch_size, fused_stages)
    kept += gate_units(network, patch_size, fused_stages)
    if not fused_stages:
        return int(kept)
    tokens = token_values(network, patch_size, slice_step)
    return int(max(kept, VIT_WORKING * tokens / KEPT_PER_UNIT) + len(fused_stages) * tokens / KEPT_PER_UNIT)


def unet_units(network: CDPDNet, patch_size: Sequence[int]) -> int:
    """nnU-Net's own count, with one output per class."""
    return int(sum(part.compute_conv_feature_map_size(patch_size) for part in (network.encoder, network.decoder)))


def fusion_units(network: CDPDNet, patch_size: Sequence[int], fused_stages: Sequence[int]) -> float:
    """Adaptors and cross-attention."""
    values, sizes = 0.0, stage_sizes(network, patch_size)
    for stage in fused_stages:
        channels, voxels = network.encoder.output_channels[stage], np.prod(sizes[stage])
        padded = np.prod(-(-sizes[stage] // WINDOW) * WINDOW)
        values += (KEPT_PER_CHANNEL * voxels + KEPT_PER_PADDED_CHANNEL * padded) * channels
        values += KEPT_PER_PAIR * padded * WINDOW ** len(patch_size)
    return float(values) / KEPT_PER_UNIT


def gate_units(network: CDPDNet, patch_size: Sequence[int], fused_stages: Sequence[int]) -> float:
    """What the fusion changes, where the gate is closed: a value per voxel and channel. Too few to choose stages by."""
    if network.vision.gate != CLOSED:
        return 0.0
    sizes = stage_sizes(network, patch_size)
    return float(sum(network.encoder.output_channels[stage] * np.prod(sizes[stage]) for stage in fused_stages)) / KEPT_PER_UNIT


def token_values(network: CDPDNet, patch_size: Sequence[int], slice_step: int) -> int:
    """Numbers in one token map of one sample."""
    encoder = network.slice_encoder
    if encoder is None:
        return 0  # of coordinates alone, which take next to nothing
    plane = list(patch_size)
    slices = 1 if len(plane) == 2 else -(-plane.pop(encoder.slice_axis) // slice_step)
    return int(slices * np.prod(encoder.grid_size(plane)) * encoder.embed_dim)


def choose_fused_stages(network: CDPDNet, patch_size: Sequence[int], candidates: Sequence[int]) -> list[int]:
    """As many of the deepest candidates as stay within a third of the U-Net's memory, at least one.

    A stage with less than one window of voxels is left out: there is nothing to attend to.

    Args:
        candidates: Stages, finest first.
    """
    voxels = stage_sizes(network, patch_size).prod(1)
    large = [stage for stage in candidates if voxels[stage] >= WINDOW ** len(patch_size)]
    most = MAX_FUSION_SHARE * unet_units(network, patch_size)
    while len(large) > 1 and fusion_units(network, patch_size, large) > most:
        large = large[1:]
    return large


def choose_slice_step(network: CDPDNet, patch_size: Sequence[int], fused_stages: Sequence[int], step: int) -> int:
    """The step that the finest fused stage asks for, doubled while the encoder at work would need more than all that is kept."""
    kept = unet_units(network, patch_size) + fusion_units(network, patch_size, fused_stages)
    encoder = network.slice_encoder
    longest = 1 if len(patch_size) == 2 or encoder is None else patch_size[encoder.slice_axis]
    while step < longest and VIT_WORKING * token_values(network, patch_size, step) / KEPT_PER_UNIT > kept:
        step *= 2
    return step


def stage_sizes(network: CDPDNet, patch_size: Sequence[int]) -> np.ndarray:
    """Voxels of every encoder stage along every axis (stages, axes)."""
    return np.array(patch_size) // np.cumprod(network.encoder.strides, axis=0)
