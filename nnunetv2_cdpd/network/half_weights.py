"""HalfWeights: the weights of a frozen module as autocast casts them, cast once and not in every forward pass.

Autocast keeps what it has cast for weights that are trained only. The weights of a frozen ViT, 86 million of ViT-B, it casts
for every batch anew, however few slices that holds.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nnunetv2_cdpd.network.tracing import is_traced


class HalfWeights:
    """Runs functions of a module on half-precision copies of its weights; results are those of autocast, bit by bit.

    The copies (2 bytes a weight) are made at the first call under autocast, and again when weights were loaded or moved. They
    are no part of the module: state dicts, copies and pickles hold its own weights alone. A compiled function casts by itself.
    """

    def __init__(self) -> None:
        self._weights: list[Tensor] = []
        self._state: list[Any] = []  # of the weights when they were copied
        self._copies: dict[str, Tensor] = {}

    def __reduce__(self) -> tuple:
        return type(self), ()

    def call(self, module: nn.Module, function: Callable[[Tensor], list[Tensor]], images: Tensor) -> list[Tensor]:
        """function(images), which reads `module`'s weights."""
        dtype = autocast_dtype(images.device.type)
        if dtype is None or is_traced(images):
            return function(images)
        return functional_call(_Calling(module), self._of(module, dtype), (function, images))

    def _of(self, module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
        weights = cast_by_autocast(module)
        state = [dtype, *((weight.data_ptr(), weight._version) for weight in weights.values())]
        same = len(weights) == len(self._weights) and all(map(operator.is_, weights.values(), self._weights))
        if not same or state != self._state:
            with torch.inference_mode(False), torch.no_grad():  # a training may use them after a prediction
                self._copies = {f"module.{name}": weight.to(dtype) for name, weight in weights.items()}
            self._weights, self._state = list(weights.values()), state
        return self._copies


class _Calling(nn.Module):
    """A module around another, so that functional_call can call any function with weights of its choice in place."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[[Tensor], list[Tensor]], images: Tensor) -> list[Tensor]:
        return function(images)


def cast_by_autocast(module: nn.Module) -> dict[str, Tensor]:
    """Weights and biases by name that autocast casts: frozen, single precision, of a linear layer or a convolution."""
    layers = (
        (name, part) for name, part in module.named_modules() if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    )
    return {
        f"{name}.{own}" if name else own: weight
        for name, part in layers
        for own, weight in part.named_parameters(recurse=False)
        if weight.dtype == torch.float32 and not weight.requires_grad and not weight.is_inference()  # those have no version
    }


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """What autocast casts to on a device; None: it is off, the device has none, or this PyTorch has no way to ask."""
    available = getattr(torch.amp, "is_autocast_available", lambda device_type: False)
    if not available(device_type) or not torch.is_autocast_enabled(device_type):
        return None
    return torch.get_autocast_dtype(device_type)
