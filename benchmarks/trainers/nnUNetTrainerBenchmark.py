"""Trainers of evidence: nnU-Net's and ours with one recipe, in which small networks learn within minutes on a CPU.

nnU-Net's default SGD learns nothing in so few iterations, so AdamW takes its place for both.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from marginal_loss import MarginalLoss
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_cdpd.planners.nnUNetPlannerCDPD import nnUNetPlannerCDPDSmall
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD
from nnunetv2_cdpd.training.recipe import Recipe

ITERATIONS_PER_EPOCH = 60
RECIPE = Recipe(
    initial_lr=3e-3,
    weight_decay=1e-5,
    num_epochs=int(os.environ["BENCHMARK_ITERATIONS"]) // ITERATIONS_PER_EPOCH,
    num_iterations_per_epoch=ITERATIONS_PER_EPOCH,
    num_val_iterations_per_epoch=1,
    oversample_foreground_percent=float(os.environ["BENCHMARK_FOREGROUND"]),
    save_every=2,
    network=replace(nnUNetPlannerCDPDSmall.network_settings, vision_encoder="dinov2-small"),
)


class Benchmark:
    """What both share: the seed, the precision, and no final validation, because the test patients are scored."""

    def initialize(self) -> None:
        seed = int(os.environ["BENCHMARK_SEED"])
        np.random.seed(seed)
        torch.manual_seed(seed)
        if "BENCHMARK_THREADS" in os.environ:  # nnU-Net takes as many as there are cores
            torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        super().initialize()
        if os.environ.get("BENCHMARK_HALF") and self.device.type == "cpu":
            self.network.forward = _in_bfloat16(self.network.forward)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self.print_to_log_file("No final validation: the test patients are scored.")


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A network's forward under autocast, which nnU-Net has on a GPU only; the loss gets single precision.

    Of predictions nothing changes: they build their own network.
    """

    def forwarded(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = forward(*args, **kwargs)
        return [output.float() for output in outputs] if isinstance(outputs, (list, tuple)) else outputs.float()

    return forwarded


class nnUNetTrainerBenchmark(Benchmark, nnUNetTrainer):
    """nnU-Net's own trainer with the recipe."""

    def __init__(  # spelled out, because the host looks its arguments up by name
        self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        vars(self).update(RECIPE.trainer_attributes)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        """The host's without mirroring, which left and right organs forbid."""
        rotation, do_dummy_2d, initial_patch_size, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, do_dummy_2d, initial_patch_size, None


class nnUNetTrainerCDPDBenchmark(Benchmark, nnUNetTrainerCDPD):
    """Ours with the recipe; every patch holds an organ, so it may lie anywhere in it (docs/training.md)."""

    recipe = replace(RECIPE, foreground_jitter=1.0)


class nnUNetTrainerCDPDBenchmarkCV(nnUNetTrainerCDPDBenchmark):
    """With the final validation, for cross-validations."""

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        nnUNetTrainerCDPD.perform_actual_validation(self, save_probabilities)


class nnUNetTrainerCDPDBenchmark_mirrored(nnUNetTrainerCDPDBenchmark):
    """With mirrored patches, whatever the classes are."""

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        return nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(self)


class nnUNetTrainerCDPDBenchmark_place(nnUNetTrainerCDPDBenchmark):
    recipe = replace(nnUNetTrainerCDPDBenchmark.recipe, place_negatives=True)


class nnUNetTrainerCDPDBenchmark_noJitter(nnUNetTrainerCDPDBenchmark):
    recipe = replace(nnUNetTrainerCDPDBenchmark.recipe, foreground_jitter=0.0)


class nnUNetTrainerCDPDBenchmark_borders(nnUNetTrainerCDPDBenchmark):
    recipe = replace(nnUNetTrainerCDPDBenchmark.recipe, border_patches=True)


class nnUNetTrainerCDPDBenchmark_batchDice(nnUNetTrainerCDPDBenchmark_borders):
    recipe = replace(nnUNetTrainerCDPDBenchmark_borders.recipe, batch_dice=True)


class nnUNetTrainerCDPDBenchmark_noVision(nnUNetTrainerCDPDBenchmark):
    recipe = nnUNetTrainerCDPDBenchmark.recipe.with_network(vision_tokens=False)


class nnUNetTrainerCDPDBenchmark_noText(nnUNetTrainerCDPDBenchmark):
    recipe = nnUNetTrainerCDPDBenchmark.recipe.with_network(modulate_by_text=False)


class nnUNetTrainerCDPDBenchmark_noTaskPrompt(nnUNetTrainerCDPDBenchmark):
    recipe = nnUNetTrainerCDPDBenchmark.recipe.with_network(task_prompts=False)


class nnUNetTrainerCDPDBenchmark_lossOnly(nnUNetTrainerCDPDBenchmark):
    """The U-Net alone with our loss, loader and validation: what the partial labels bring without CDPDNet's parts."""

    recipe = nnUNetTrainerCDPDBenchmark.recipe.with_network(vision_tokens=False, modulate_by_text=False, task_prompts=False)


class nnUNetTrainerCDPDBenchmark_lossOnlyCV(nnUNetTrainerCDPDBenchmarkCV):
    recipe = nnUNetTrainerCDPDBenchmark_lossOnly.recipe


class nnUNetTrainerCDPDBenchmark_lossOnly_borders(nnUNetTrainerCDPDBenchmark_lossOnly):
    recipe = replace(nnUNetTrainerCDPDBenchmark_lossOnly.recipe, border_patches=True)


class nnUNetTrainerCDPDBenchmark_lossOnly_place(nnUNetTrainerCDPDBenchmark_lossOnly):
    recipe = replace(nnUNetTrainerCDPDBenchmark_lossOnly.recipe, place_negatives=True)


class nnUNetTrainerCDPDBenchmark_marginal(nnUNetTrainerCDPDBenchmark_lossOnly):
    """Marginal and exclusion loss in place of ours (partially supervised softmax, arXiv 2007.03868)."""

    def _build_loss(self) -> MarginalLoss:
        ours = super()._build_loss()
        return MarginalLoss(self.annotation, weights=ours.weights, batch_dice=ours.batch_dice).to(self.device)


class nnUNetTrainerCDPDBenchmark_largeBatch(nnUNetTrainerCDPDBenchmark):
    def _set_batch_size_and_oversample(self) -> None:
        super()._set_batch_size_and_oversample()
        self.batch_size *= 3


class nnUNetTrainerCDPDBenchmark_slow(nnUNetTrainerCDPDBenchmark):
    recipe = replace(nnUNetTrainerCDPDBenchmark.recipe, initial_lr=1e-3)
