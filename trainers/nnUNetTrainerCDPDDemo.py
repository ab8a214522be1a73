"""nnUNetTrainerCDPDDemo: for plans of nnUNetPlannerCDPDDemo; it says how long `cdpd demo` still takes."""

from dataclasses import replace

from tqdm import tqdm

from ..training.time_left import TimeLeft
from .variants import nnUNetTrainerCDPDSmall


class nnUNetTrainerCDPDDemo(nnUNetTrainerCDPDSmall):
    """2520 iterations of two patches, of which the tumors of the demo's phantoms, and the sides of its kidneys, have need."""

    recipe = replace(
        nnUNetTrainerCDPDSmall.recipe,
        num_epochs=14,
        num_iterations_per_epoch=180,
        num_val_iterations_per_epoch=4,
        batch_dice=None,  # that of the plans, with which it was measured that the tumors are found
        probabilistic_oversampling=True,  # of two patches, the host would else round the share to a half
        seed=0,
    )
    # final validation, prediction, evaluation and page of the demo, in iterations that take as long
    iterations_afterwards = 600

    def on_train_start(self) -> None:
        super().on_train_start()
        iterations = (self.num_epochs - self.current_epoch) * self.num_iterations_per_epoch
        # tqdm's way to print, since there may be a bar
        self._time_left = TimeLeft(iterations, self.iterations_afterwards, lambda line: tqdm.write(f"  {line}"))

    def train_step(self, batch: dict) -> dict:
        outputs = super().train_step(batch)
        self._time_left.step()
        return outputs


class nnUNetTrainerCDPDDemo_quick(nnUNetTrainerCDPDDemo):
    """Too few iterations to learn more than the largest organs: a test that every step of the demo works."""

    recipe = replace(nnUNetTrainerCDPDDemo.recipe, num_epochs=2, num_iterations_per_epoch=60)
    iterations_afterwards = 250
