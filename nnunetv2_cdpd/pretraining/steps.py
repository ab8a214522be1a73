"""Steps: one iteration after the other, each told by its number and the seed alone, so that a run goes on as if never stopped."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretraining.learning import Learner, Teaching, spread
from nnunetv2_cdpd.pretraining.settings import PretrainingSettings
from nnunetv2_cdpd.pretraining.views import make_views
from nnunetv2_cdpd.training.distributed import data_parallel

WARM_UP = 0.1  # share of the iterations in which the learning rate rises and the prototypes stay
_TEMPERATURE = 0.04  # of the teacher, DINO's to begin with: the higher, the less it sharpens
_MOMENTUM = (0.996, 1.0)  # of the teacher
_WEIGHT_DECAY = (0.04, 0.4)
_LAST_LR = 1e-6
_LARGEST_GRADIENT = 3.0
_ORDER, _VIEWS = 0, 1  # what a stream of random numbers is for


class Steps:
    """Student, teacher and optimizer, and what an iteration does with them.

    Args:
        student, teacher: Slice encoders with the same weights; the second one's are those that are kept in the end.
        settings: With iterations and learning rate.
        num_slices: There are.
        rank, num_processes: Of those that share a batch; they have the same weights.

    Raises:
        UserError: The loss is no number any more.
    """

    def __init__(
        self,
        student: SliceEncoder,
        teacher: SliceEncoder,
        settings: PretrainingSettings,
        num_slices: int,
        device: torch.device,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        if settings.iterations is None or settings.lr is None:
            raise ValueError("settings are resolved first")
        self.settings, self.iterations, self.lr = settings, settings.iterations, settings.lr
        self.num_slices, self.device, self.rank, self.num_processes = num_slices, device, rank, num_processes
        self.encoder = student.to(device)
        self.patch_size = student.vit_patch_size[0]
        torch.manual_seed(settings.seed)
        self.learner = Learner(student.vit.requires_grad_(True), settings.head_width, settings.prototypes).to(device)
        self.teacher = Learner(teacher.vit, settings.head_width, settings.prototypes).to(device).requires_grad_(False)
        self.teacher.load_state_dict(self.learner.state_dict())
        self.student: nn.Module = data_parallel(self.learner, device) if num_processes > 1 else self.learner
        self.teaching = Teaching(settings.prototypes).to(device)
        learned = [each for each in self.learner.parameters() if each.requires_grad]
        matrices = [each for each in learned if each.ndim > 1]
        others = [each for each in learned if each.ndim <= 1]  # biases and scales, never decayed
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.lr)

    @property
    def warm_up(self) -> int:
        return int(WARM_UP * self.iterations)

    def wanted(self, iteration: int) -> list[int]:
        """Numbers of the slices that this process sees in an iteration: all slices in a new order, again and again."""
        size = self.settings.batch_size // self.num_processes
        first = iteration * self.settings.batch_size + self.rank * size
        places = [divmod(place, self.num_slices) for place in range(first, first + size)]
        return [int(_order(self.settings.seed, epoch, self.num_slices)[place]) for epoch, place in places]

    def step(self, iteration: int, slices: Sequence[Tensor]) -> dict[str, float]:
        """Learn from the slices that `wanted` told, and measure."""
        from lightly.models.utils import update_momentum
        from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule

        lr = cosine_warmup_schedule(iteration, self.iterations, self.lr, _LAST_LR, self.warm_up, 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.param_groups[0]["weight_decay"] = cosine_schedule(iteration, self.iterations, *_WEIGHT_DECAY)
        rng = np.random.default_rng([self.settings.seed, _VIEWS, iteration, self.rank])
        on_device = [each.to(self.device, non_blocking=True) for each in slices]
        views = make_views(on_device, self.settings, self.patch_size, self.encoder.normalised, rng)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._has_bfloat16):
            with torch.no_grad():
                said = self.teacher(views.large, None, views.mask, hide=False)
            answered = self.student(views.large, views.small, views.mask)
        if iteration == 0:
            self.teaching.begin(said, len(slices))
        told = self.teaching.information(said[0], _TEMPERATURE)
        losses = self.teaching(answered, said, views.mask, _TEMPERATURE)
        if not math.isfinite(losses["loss"].item()):
            raise UserError(
                f"the loss of iteration {iteration + 1} is no finite number; begin again with an argument lr below {self.lr:g}"
            )
        self.optimizer.zero_grad()
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.learner.parameters(), _LARGEST_GRADIENT)
        if iteration < self.warm_up:
            for parameter in self.learner.last_layers():
                parameter.grad = None
        self.optimizer.step()
        with torch.no_grad():
            update_momentum(self.learner, self.teacher, cosine_schedule(iteration, self.iterations, *_MOMENTUM))
        tokens = said[2][: len(slices)]  # of the first large crop: the second is of the same slices
        measured = {**losses, "information": told, "slice_spread": spread(tokens[:, 0]), "patch_spread": spread(tokens[:, 1:])}
        return {**self._over_processes(measured), "lr": lr}

    def state(self) -> dict[str, Any]:
        """All that an iteration changes."""
        modules = {"student": self.learner, "teacher": self.teacher, "teaching": self.teaching}
        return {**{name: module.state_dict() for name, module in modules.items()}, "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.teaching.load_state_dict(state["teaching"])
        self.optimizer.load_state_dict(state["optimizer"])

    @property
    def _has_bfloat16(self) -> bool:
        return self.device.type == "cuda" and torch.cuda.is_bf16_supported()

    def _over_processes(self, measured: Mapping[str, Tensor]) -> dict[str, float]:
        values = torch.stack([each.detach().float() for each in measured.values()])
        if self.num_processes > 1:
            distributed.all_reduce(values)
            values /= self.num_processes
        return dict(zip(measured, values.tolist()))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(count)
