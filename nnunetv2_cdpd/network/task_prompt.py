"""TaskPrompt (TTPG, text-based task prompt generation): one extra bottleneck channel that tells the decoder the task.

From the bottleneck and the task text a map per task is computed; each sample appends the map of its own task.

Source: CDPDNet, arXiv 2505.18958. What differs from the released code: every sample uses its own task (the release gives
the first sample's to the whole batch).
"""

from typing import Any

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from torch import Tensor, nn

from nnunetv2_cdpd.network.text_modulation import Affine, TextModulation


class TaskPrompt(nn.Module):
    """(B, C, X, Y(, Z)), task (B,) -> (B, C + 1, X, Y(, Z)).

    Args:
        channels: C, features of the bottleneck.
        num_tasks: T.
        conv_kwargs: What DNA's StackedConvBlocks takes besides channels: conv_op, kernel_size, norm_op, ...
        modulation: How the task text (T, F) modulates the T channels; made by the network, as its other modulations.
    """

    def __init__(self, channels: int, num_tasks: int, conv_kwargs: dict[str, Any], modulation: TextModulation) -> None:
        super().__init__()
        hidden = max(1, (channels + num_tasks) // 4)

        def blocks(input_channels: int, *output_channels: int) -> nn.Module:
            return StackedConvBlocks(
                len(output_channels),
                input_channels=input_channels,
                output_channels=output_channels,
                initial_stride=1,
                **conv_kwargs,
            )

        self.reduce = blocks(channels, num_tasks, num_tasks)
        self.modulate = modulation
        self.fuse = blocks(channels + num_tasks, hidden, hidden, num_tasks)

    def forward(self, x: Tensor, task: Tensor, affine: Affine) -> Tensor:
        """affine: What `modulate.affine` makes of the tasks' text features (T, F)."""
        prompt = self.modulate(self.reduce(x), affine)  # (B, T, ...)
        task_maps = self.fuse(torch.cat([x, prompt], 1))  # (B, T, ...)
        index = task.view(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, task_maps.gather(1, index)], 1)
