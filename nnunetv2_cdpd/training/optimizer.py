"""AdamW as one kernel over all weights, where PyTorch has one for the device; a checkpoint of either way goes on in the other."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from nnunetv2_cdpd.network.training_only import TrainingOnly

_TRAINING_ONLY = "training_only"


class ResumableAdamW(torch.optim.AdamW):
    """torch's AdamW that stays fused, or not, when the state of one that was otherwise is loaded.

    training_only: Parts of the network that its own state dict has not, saved and loaded here.
    """

    training_only: Mapping[str, TrainingOnly] = MappingProxyType({})

    def state_dict(self) -> dict[str, Any]:
        """torch's, with the state of what is there in training only."""
        parts = {name: part.own_state() for name, part in self.training_only.items()}
        return {**super().state_dict(), **({_TRAINING_ONLY: parts} if parts else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch's, which would take the way of working from the checkpoint, whatever this device can do."""
        own = {name: self.defaults[name] for name in ("fused", "foreach")}
        parts = state_dict.get(_TRAINING_ONLY, {})
        rest = {key: value for key, value in state_dict.items() if key != _TRAINING_ONLY}
        super().load_state_dict({**rest, "param_groups": [{**group, **own} for group in state_dict["param_groups"]]})
        for name, part in self.training_only.items():
            part.load_own_state(parts[name])


def adamw(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> ResumableAdamW:
    """AdamW for parameters that lie on their device already."""
    parameters = list(parameters)
    fused = all(has_fused_kernel(device) for device in {parameter.device for parameter in parameters})
    return ResumableAdamW(parameters, learning_rate, weight_decay=weight_decay, fused=fused or None)  # None: PyTorch's choice


def has_fused_kernel(device: torch.device) -> bool:
    """Whether this PyTorch has fused AdamW for a device; tried on one number, as versions refuse it in different places."""
    number = nn.Parameter(torch.zeros(1, device=device))
    number.grad = torch.zeros_like(number)
    try:
        torch.optim.AdamW([number], fused=True).step()
    except RuntimeError:
        return False
    return True
