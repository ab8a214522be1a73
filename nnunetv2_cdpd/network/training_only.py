"""Parts of a network that are there while it is trained, and in no saved model: low-rank adapters of its ViT, the tokens' guide.

A trainer attaches them. The network's state dict has nothing of them (adapters are merged into the weights that they change), so
that a model folder is the same with and without them; what a training that goes on needs is saved with the optimizer's state.

Sources: Hu et al., LoRA, arXiv 2106.09685; the guide: GuiDINO, arXiv 2603.01115.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class TrainingOnly(nn.Module):
    """Parameters of its own, and none of them in a state dict."""

    def own_state(self) -> dict[str, Tensor]:
        """What a training that goes on needs."""
        return {name: parameter.detach().clone() for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `own_state` gave."""
        for name, parameter in self.named_parameters():
            parameter.copy_(state[name])

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Nothing."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


class LowRankAdapters(TrainingOnly):
    """Adds to linear layers of a frozen module: W x + B (A x), of a rank r much smaller than the layer.

    To be put as `adapters` beside the module, which is called `vit`, behind it: its state dict then has W + B A in place of W.

    Args:
        layers: Linear layers by their names within the ViT.
        rank: r.
    """

    def __init__(self, layers: Mapping[str, nn.Linear], rank: int) -> None:
        super().__init__()
        self.adapted = {name: [layer] for name, layer in layers.items()}  # in a list, or they would be parts of this one
        for number, layer in enumerate(layers.values()):
            down, up = layer.weight.new_empty(rank, layer.in_features), layer.weight.new_zeros(layer.out_features, rank)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # as a linear layer's
            self.register_parameter(f"down_{number}", nn.Parameter(down))
            self.register_parameter(f"up_{number}", nn.Parameter(up))
            layer.register_forward_hook(self._adding(number))

    def _adding(self, number: int) -> Any:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            down, up = self._factors(number)
            return output + functional.linear(functional.linear(inputs[0], down), up)

        return add

    def _factors(self, number: int) -> tuple[Tensor, Tensor]:
        return getattr(self, f"down_{number}"), getattr(self, f"up_{number}")

    def changes(self) -> dict[str, Tensor]:
        """B A of every layer, by its name."""
        products = {}
        for number, name in enumerate(self.adapted):
            down, up = self._factors(number)
            products[name] = (up @ down).detach()
        return products

    @torch.no_grad()
    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Also takes out of the layers what was merged into them when they were saved."""
        super().load_own_state(state)
        for (layer,), change in zip(self.adapted.values(), self.changes().values()):
            layer.weight -= change

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        vit = prefix.removesuffix("adapters.") + "vit."
        for name, change in self.changes().items():
            destination[f"{vit}{name}.weight"] = destination[f"{vit}{name}.weight"] + change

    @torch.no_grad()
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """The layers were loaded with what is merged into them, so that nothing is to be added until it is learned anew."""
        for number in range(len(self.adapted)):
            self._factors(number)[1].zero_()


class Guide(TrainingOnly):
    """Heads of one linear layer on the adapted tokens (B, C, ...) of every fused stage -> logits (B, K, ...) of each.

    Args:
        channels: C of each stage, finest first.
        num_classes: K.
    """

    def __init__(self, channels: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.stages = tuple(channels)
        for stage, width in channels.items():
            self.register_parameter(f"weight_{stage}", nn.Parameter(torch.randn(num_classes, width) * width**-0.5))
            self.register_parameter(f"bias_{stage}", nn.Parameter(torch.zeros(num_classes)))

    def forward(self, adapted: Mapping[str, Tensor]) -> list[Tensor]:
        return [
            functional.linear(
                adapted[stage].movedim(1, -1), getattr(self, f"weight_{stage}"), getattr(self, f"bias_{stage}")
            ).movedim(-1, 1)
            for stage in self.stages
        ]
