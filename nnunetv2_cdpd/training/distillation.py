"""Training all of an extended network further, while it keeps to what the model said where the further data say nothing.

    supervised      what the further data annotate: the partial-label loss, of former classes too
    not supervised  every other (voxel, former class) pair: the model's own answer is the target

The distance from that answer is the Kullback-Leibler divergence of each pair, and for each class a soft Dice of both answers, so
that small structures count as much as large ones. Source: Li and Hoiem, Learning without Forgetting, arXiv 1606.09282.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nnunetv2_cdpd.annotation import UNSUPERVISED, Annotation
from nnunetv2_cdpd.network.cdpdnet import CDPDNet
from nnunetv2_cdpd.training.extension import ExtensionTrainer
from nnunetv2_cdpd.training.loss import PartialLabelLoss

_SMOOTH = 1e-3  # of a soft Dice of two answers: where both see next to nothing, they agree


class DistillingLoss(PartialLabelLoss):
    """The partial-label loss, and the distance from another network's answer where nothing is annotated.

    Args:
        former: Channels of the classes that the other network knows, n of them.

    Attributes:
        answer: The other network's logits of the batch (B, n, X, Y(, Z)); None: there is no such part.
    """

    answer: Tensor | None = None

    def __init__(self, annotation: Annotation, *, former: Sequence[int], **settings: Any) -> None:
        super().__init__(annotation, **settings)
        self.former = list(former)

    def forward(self, output: Tensor | Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        loss = super().forward(output, target)
        if self.answer is None:
            return loss
        logits = output if isinstance(output, Tensor) else output[0]
        return loss + self.distance(logits[:, self.former].float(), self.answer.float(), target[0], target[-1])

    def distance(self, logits: Tensor, answer: Tensor, label_map: Tensor, sources: Tensor) -> Tensor:
        """Of logits from an answer, both (B, n, X, Y(, Z)), where the label map (B, 1, ...) of a source tells nothing."""
        tables = self.tables[sources][:, self.former] == UNSUPERVISED  # (B, n, V)
        free = torch.stack([table[:, values[0].long()] for table, values in zip(tables, label_map)])  # (B, n, ...)
        if not free.any():
            return logits.sum() * 0
        probability, wanted = logits.sigmoid(), answer.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(answer, wanted, reduction="none")
        divergence = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") - entropy
        axes = tuple(range(2, logits.ndim))
        both = (probability * wanted * free).sum(axes)
        squares = ((probability**2 + wanted**2) * free).sum(axes)
        dice = (2 * both + _SMOOTH) / (squares + _SMOOTH)
        return (divergence * free).sum() / free.sum() + (1 - dice)[free.flatten(2).any(2)].mean()


class UnfrozenExtensionTrainer(ExtensionTrainer):
    """ExtensionTrainer that trains everything but the vision encoder and given embeddings.

    The model's answer comes from a frozen copy of it, made whenever the training begins or goes on.
    """

    recipe = replace(ExtensionTrainer.recipe, initial_lr=1e-3)
    teacher: CDPDNet | None = None

    def begin_with(self, checkpoint: Mapping[str, Any], debug: Any) -> None:
        super().begin_with(checkpoint, debug)
        teacher: Any = self.build_network_architecture(
            self.plans_manager,
            self.configuration_manager,
            self.num_input_channels,
            self.label_manager.num_segmentation_heads,
            enable_deep_supervision=False,
        )
        teacher.load_state_dict(self.cdpdnet.state_dict())
        self.teacher = teacher.to(self.device).eval().requires_grad_(False)

    def freeze(self) -> None:
        """Nothing more than is frozen in every training."""

    def train_mode(self) -> None:
        """The host's."""

    def _build_loss(self) -> DistillingLoss:
        plain = super()._build_loss()
        places = self.extension.places
        loss = DistillingLoss(
            self.annotation,
            former=[k for k in range(len(self.annotation.classes)) if k not in places],
            weights=plain.weights,
            batch_dice=plain.batch_dice,
            ddp=plain.ddp,
        )
        return loss.to(self.device)

    def train_step(self, batch: dict) -> dict:
        assert self.teacher is not None and isinstance(self.loss, DistillingLoss), "begin_with comes first"
        with torch.no_grad():
            inputs = {name: batch[name].to(self.device, non_blocking=True) for name in ("data", "tokens") if name in batch}
            self.loss.answer = self.teacher(inputs.pop("data"), **inputs)[:, self.loss.former]
        try:
            return super().train_step(batch)
        finally:
            self.loss.answer = None
