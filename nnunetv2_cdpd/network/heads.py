"""ClassHeads: the last convolution of the decoder, one output channel per class, of which a caller may want a few only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


class ClassHeads(_ConvNd):
    """(B, F, X, Y(, Z)) -> logits (B, K, X, Y(, Z)), or those of the chosen classes.

    A convolution of a decoder becomes one by `of`; weights, names in checkpoints and random numbers stay what they were.
    """

    chosen: Tensor | None = None  # indices of classes, on the device of the weights; None: all

    @classmethod
    def of(cls, convolution: _ConvNd) -> "ClassHeads":
        """The same convolution, with a choice of classes.

        Args:
            convolution: nn.Conv2d or nn.Conv3d; the new one takes its parameters.
        """
        kind: Callable[..., ClassHeads] = ClassHeads3d if isinstance(convolution, nn.Conv3d) else ClassHeads2d
        with torch.device("meta"):  # draws no random numbers
            heads = kind(
                convolution.in_channels,
                convolution.out_channels,
                convolution.kernel_size,
                convolution.stride,
                convolution.padding,
                bias=convolution.bias is not None,
            )
        heads.weight, heads.bias = convolution.weight, convolution.bias
        return heads

    def forward(self, x: Tensor) -> Tensor:
        if self.chosen is None:
            return self._conv_forward(x, self.weight, self.bias)
        bias = None if self.bias is None else self.bias[self.chosen]
        return self._conv_forward(x, self.weight[self.chosen], bias)


class ClassHeads2d(ClassHeads, nn.Conv2d):
    """In 2D."""


class ClassHeads3d(ClassHeads, nn.Conv3d):
    """In 3D."""
