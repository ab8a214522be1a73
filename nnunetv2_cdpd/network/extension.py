"""Extension: further classes on a network that stays as it is.

    modulated skips of the network ── modulated by the further class prompts ── narrowed ── decoder of its own -> logits

The network's text modulation adds up over prompts and its task prompt reads every task, so one prompt more would change the
logits of the former classes. An extension therefore stands beside: it reads the network's skips and changes nothing of it.
What the network says of its own classes limits what an extension may say (`limited`), so that former label maps stay too.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunetv2_cdpd.network.text_modulation import Affine, PromptEmbeddings, TextModulation


class Extension(nn.Module):
    """Skips (B, C, X, Y(, Z)) of all encoder stages, finest first -> logits (B, k, X, Y(, Z)) of k further classes.

    Args:
        view: What UNetDecoder reads of an encoder: strides, kernel sizes, kind of block, and output_channels C.
        class_prompts: k sentences.
        task_prompts: Of the sources that annotate them; recorded only.
        places: Where the classes come to lie among all that the network then has; the former ones keep their order.
        features_per_stage: Width of the decoder at each stage, finest first.
        n_conv_per_stage: Convolutions at each stage of the decoder, coarsest first.
        limits: Of each class: see `limited`; numbers are of the former classes.
        embed_dim: Of the prompts' embeddings.
        modulate: False: no text modulation.
        learned: Whether the embeddings are learned.
        text_channels: Width of text features.
        deep_supervision: Return a list of logits, finest first.

    Raises:
        ValueError: There is not one place and one entry of limits for each class.
    """

    def __init__(
        self,
        view: SimpleNamespace,
        *,
        class_prompts: Sequence[str],
        task_prompts: Sequence[str],
        places: Sequence[int],
        features_per_stage: Sequence[int],
        n_conv_per_stage: Sequence[int],
        limits: Sequence[Mapping[str, Any]],
        embed_dim: int,
        modulate: bool,
        learned: bool,
        text_channels: int,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        if not len(class_prompts) == len(set(places)) == len(limits):
            raise ValueError(
                f"one place and one entry of limits per class: got {len(places)} and {len(limits)} for {len(class_prompts)}"
            )
        self.num_classes, self.num_tasks = len(class_prompts), len(task_prompts)
        self.places, self.limits = tuple(places), tuple(limits)
        self.class_text, self.modulations = None, nn.ModuleList()
        if modulate:
            self.class_text = PromptEmbeddings(self.num_classes, embed_dim, learned, text_channels)
            self.modulations.extend(TextModulation(self.num_classes, channels, text_channels) for channels in view.output_channels)
        self.narrow = nn.ModuleList(
            view.conv_op(channels, width, 1) for channels, width in zip(view.output_channels, features_per_stage)
        )
        narrow_view = SimpleNamespace(**{**vars(view), "output_channels": list(features_per_stage)})
        self.decoder = UNetDecoder(narrow_view, self.num_classes, n_conv_per_stage, deep_supervision)
        self.narrow.apply(InitWeights_He(1e-2))
        self.decoder.apply(InitWeights_He(1e-2))

    def text_terms(self) -> tuple[Affine, ...]:
        """What the further prompts say of the skips; nothing without text."""
        if self.class_text is None:
            return ()
        features = self.class_text()
        return tuple(modulation.affine(features) for modulation in self.modulations)

    def forward(self, skips: Sequence[Tensor], text: Sequence[Affine]) -> Tensor | list[Tensor]:
        if text:
            skips = [modulation(skip, affine) for modulation, skip, affine in zip(self.modulations, skips, text)]
        return self.decoder([narrow(skip) for narrow, skip in zip(self.narrow, skips)])

    def joined(self, former: Tensor, logits: Tensor) -> Tensor:
        """Former logits (B, n, ...), bit by bit as they are, and limited further ones (B, k, ...), each in its place."""
        further = [limited(logits[:, k], former, **limits) for k, limits in enumerate(self.limits)]
        rest = iter(former.unbind(1))
        own = dict(zip(self.places, further))
        return torch.stack([own[k] if k in own else next(rest) for k in range(former.shape[1] + len(own))], 1)


def limited(
    logit: Tensor,
    former: Tensor,
    *,
    apart: Sequence[int] = (),
    within: Sequence[Sequence[int]] = (),
    holds: Sequence[int] = (),
) -> Tensor:
    """A further class's logit (B, ...) as far as the former classes' (B, n, ...) allow it.

    p(class) <= 1 - p(other), p(class) <= p(what it lies in), p(class) >= p(what lies in it). A minimum is no more, and a maximum
    no less, than what it is made of; so all this stays true of the mean over windows, mirrored images and folds, and between
    voxels, and no further class is ever above 0.5 where a former one that excludes it is.

    Args:
        apart: Former classes that exclude it.
        within: Former classes that hold it; of each group, one of them does.
        holds: Former classes that lie in it.
    """
    for group in within:
        logit = torch.minimum(logit, former[:, list(group)].amax(1).detach())
    if apart:
        logit = torch.minimum(logit, -former[:, list(apart)].amax(1).detach())
    if holds:
        logit = torch.maximum(logit, former[:, list(holds)].amax(1).detach())
    return logit
