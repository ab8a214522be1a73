"""AdamW as one kernel over all weights, where PyTorch has one for the device; a checkpoint of either way goes on in the other."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class ResumableAdamW(torch.optim.AdamW):
    """torch's AdamW that stays fused, or not, when the state of one that was otherwise is loaded."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch's, which would take the way of working from the checkpoint, whatever this device can do."""
        own = {name: self.defaults[name] for name in ("fused", "foreach")}
        super().load_state_dict({**state_dict, "param_groups": [{**group, **own} for group in state_dict["param_groups"]]})


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
