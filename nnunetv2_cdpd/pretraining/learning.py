"""Learner, and what it is taught by: the ViT with the two heads of DINOv2, once as student and once as its moving average.

    large crops, masked ── student ┬ class tokens ── DINO: what the teacher says of the other crops of the slice
    small crops ────────── student ┘      └───────── KoLeo: spread over the batch
    large crops, masked ── student ── masked patches ── iBOT: what the teacher says of the patches, which it sees
    large crops ────────── teacher

Source: DINO, arXiv 2104.14294; iBOT, arXiv 2111.07832; DINOv2, arXiv 2304.07193; by lightly's losses and heads. What differs from
DINOv2: centering by a moving mean instead of Sinkhorn-Knopp, prototypes of length 1 and fewer of them, no stochastic depth, one
learning rate for all layers, one temperature of the teacher.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

_BOTTLENECK = 256  # of the heads
KOLEO_WEIGHT = 0.1


class Learner(nn.Module):
    """Large crops (2 b, 3, G, G), small ones (n b, 3, L, L) and masked patches (2 b, g, g) -> class logits, patch logits, tokens.

    Class logits are ((2 + n) b, K), patch logits those of the masked patches in their order, tokens (2 b, 1 + g g, E) without
    registers. One module, because DDP knows one forward pass per step.

    Args:
        vit: Of a slice encoder.
        head_width: Of the hidden layers of the heads.
        prototypes: K.
    """

    def __init__(self, vit: Any, head_width: int, prototypes: int) -> None:
        super().__init__()
        from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM

        self.backbone = MaskedVisionTransformerTIMM(vit, weight_initialization="skip", pos_embed_initialization="skip")
        self.num_prefix_tokens: int = vit.num_prefix_tokens
        self.class_head, self.patch_head = (
            DINOv2ProjectionHead(vit.embed_dim, head_width, _BOTTLENECK, prototypes) for _ in range(2)
        )
        for head in (self.class_head, self.patch_head):  # else their lengths can shrink until the teacher says nothing
            head.last_layer.weight_g.requires_grad_(False)

    def forward(self, large: Tensor, small: Tensor | None, mask: Tensor, hide: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """See the class.

        Args:
            hide: Put the mask token in place of the masked patches, as the student sees it; the teacher sees all.
        """
        tokens = self.backbone.encode(large, mask=self._with_prefix(mask) if hide else None)
        classes = [tokens[:, 0]]
        if small is not None and len(small):
            classes.append(self.backbone.encode(small)[:, 0])
        patches = tokens[:, self.num_prefix_tokens :]
        return (
            self.class_head(torch.cat(classes)),
            self.patch_head(patches[mask.flatten(1)]),
            torch.cat([tokens[:, :1], patches], 1),
        )

    def last_layers(self) -> list[nn.Parameter]:
        """The prototypes, which stay as they are while the training warms up."""
        return [*self.class_head.last_layer.parameters(), *self.patch_head.last_layer.parameters()]

    def _with_prefix(self, mask: Tensor) -> Tensor:
        return torch.cat([mask.new_zeros(len(mask), self.num_prefix_tokens), mask.flatten(1)], 1)


class Teaching(nn.Module):
    """The three losses; keeps the centers of what the teacher says.

    Args:
        prototypes: K.
    """

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss

        self.dino, self.ibot, self.koleo = DINOLoss(prototypes), IBOTPatchLoss(prototypes), KoLeoLoss()

    def begin(self, teacher: tuple[Tensor, Tensor, Tensor], b: int) -> None:
        """Put the centers where the first answers are, of b slices.

        From 0 they would need tens of iterations to come there, in which the teacher says the same of every slice; a short run
        learns that, and forgets it late.
        """
        momenta = self.dino.center_momentum, self.ibot.center.momentum
        self.dino.center_momentum = self.ibot.center.momentum = 0.0
        self.dino.update_center(torch.stack(teacher[0].float().split(b)))
        self.ibot.center.update(teacher[1].float())
        self.dino.center_momentum, self.ibot.center.momentum = momenta

    def forward(
        self, student: tuple[Tensor, Tensor, Tensor], teacher: tuple[Tensor, Tensor, Tensor], mask: Tensor, temperature: float
    ) -> dict[str, Tensor]:
        """The losses, and what is learned from: their weighted sum.

        Args:
            student, teacher: What a `Learner` returns.
            mask: Of the patches, (2 b, g, g).
            temperature: Of the teacher.
        """
        (classes, patches, tokens), (its_classes, its_patches, _) = student, teacher
        b = len(mask) // 2
        found = {
            "dino": self.dino(list(its_classes.float().split(b)), list(classes.float().split(b)), teacher_temp=temperature),
            "ibot": self.ibot(its_patches.float(), patches.float(), mask, teacher_temp=temperature),
            "koleo": torch.stack([self.koleo(view) for view in tokens[:, 0].float().split(b)]).sum(),
        }
        return {"loss": found["dino"] + found["ibot"] + KOLEO_WEIGHT * found["koleo"], **found}

    def information(self, teacher_classes: Tensor, temperature: float) -> Tensor:
        """What the teacher's answers tell of which view they are of: mutual information, as a share of the most there could be.

        0: the teacher says the same of every slice, be it all prototypes alike or one alone.

        Args:
            teacher_classes: Class logits (N, K) of N views.
        """
        answers = ((teacher_classes.float() - self.dino.center[0]) / temperature).softmax(-1)
        most = math.log(min(answers.shape))
        return (torch.special.entr(answers.mean(0)).sum() - torch.special.entr(answers).sum(-1).mean()) / most


def spread(embeddings: Tensor) -> Tensor:
    """Standard deviation of embeddings (..., E) brought to length 1, of all directions together: 1 - |mean|^2, its root.

    0: all are the same, the encoder has collapsed; 1: they point everywhere. After SimSiam, arXiv 2011.10566.
    """
    mean = nn.functional.normalize(embeddings.float().flatten(0, -2), dim=-1).mean(0)
    return (1 - mean.square().sum()).clamp(min=0).sqrt()
