"""WarmupCosineScheduler: the learning rates of the released training run, epoch by epoch."""

import math

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler


class WarmupCosineScheduler(PolyLRScheduler):
    """Linear from 0 to `initial_lr` over the first epochs, then a half cosine to 0; stepped once before each epoch.

    Args:
        warmup_steps: Epochs of warm-up, of `max_steps` epochs in all.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, max_steps: int, warmup_steps: int) -> None:
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, initial_lr, max_steps)

    def step(self, current_step: int | None = None) -> None:
        super().step(current_step)  # counts, where no step is given
        step = (self.ctr - 1 if current_step in (None, -1) else current_step) + 1  # the release steps before its first epoch
        if step < self.warmup_steps:
            factor = step / (self.warmup_steps - 1)
        else:
            factor = (1 + math.cos(math.pi * (step - self.warmup_steps) / (self.max_steps - self.warmup_steps))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial_lr * factor
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
