"""ExtensionTrainer: trains the last extension of a network whose other weights come from a trained model, and stay.

What differs from PartialLabelTrainer:
    network   that of the plans, as `cdpd extend` wrote them; the model's weights are put in before the first iteration
    learning  the last extension alone; all else gets no gradient, and its norms and dropout are as in prediction
    data      every case trains, and every one shows the progress: five cases leave none to put aside; patches are centred on
              the new classes
    loss      Dice of the batch. A patch without the new class has a Dice of 0 whatever is predicted there, so that false
              structures far from it would go unpunished; in the Dice of a batch they count
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nnunetv2_cdpd.errors import UserError, listed
from nnunetv2_cdpd.jobs import write_json
from nnunetv2_cdpd.network.extension import Extension
from nnunetv2_cdpd.network.training_only import TrainingOnly
from nnunetv2_cdpd.training.provenance import PROVENANCE
from nnunetv2_cdpd.training.recipe import Recipe
from nnunetv2_cdpd.training.sampling import AnnotatedCases
from nnunetv2_cdpd.training.trainer import PartialLabelTrainer


class ExtensionTrainer(PartialLabelTrainer):
    """Made by `nnunetv2_cdpd.extension`, which calls `begin_with` before the training begins or goes on."""

    recipe = Recipe(
        num_epochs=20,
        num_iterations_per_epoch=50,
        num_val_iterations_per_epoch=4,
        save_every=5,
        initial_lr=3e-3,
        oversample_foreground_percent=0.67,
        probabilistic_oversampling=True,
        universal_task_probability=1.0,
        border_patches=True,
        foreground_jitter=1.0,
        batch_dice=True,
    )
    fold: int | str  # the host's
    going_on = "the same command"
    base_folder: str | Path  # the model
    base_provenance: str | None = None
    base_mirroring: tuple[int, ...] | None = None

    def begin_with(self, checkpoint: Mapping[str, Any], debug: Any) -> None:
        """Build the network and put the weights of the model in.

        Args:
            checkpoint: Of the model, of this fold.
            debug: Content of its debug.json.
        """
        self.base_provenance = debug.get(PROVENANCE) if isinstance(debug, dict) else None
        axes = checkpoint.get("inference_allowed_mirroring_axes")
        self.base_mirroring = None if axes is None else tuple(axes)
        self.initialize()
        result = self.cdpdnet.load_state_dict(checkpoint["network_weights"], strict=False)
        own = f"extensions.{len(self.cdpdnet.extensions) - 1}."
        if result.unexpected_keys or any(not key.startswith(own) for key in result.missing_keys):
            raise UserError(
                f"the weights of fold {self.fold} are not of the network in the plans: {listed(result.missing_keys, 2)}"
            )

    def told_without_vision(self) -> str:
        """As the model is: weights that the user gives for other trainings are none of its business."""
        return "No vision tokens: the model has none"

    @property
    def extension(self) -> Extension:
        """That which is trained."""
        return self.cdpdnet.all_extensions[-1]

    def _plans_with_network(self) -> dict:
        """The plans as they are: which network it is was decided by who extended the model."""
        if not self.configuration_manager.network_arch_init_kwargs.get("extensions"):
            raise UserError(
                f"{type(self).__name__} trains what `cdpd extend` adds to a model; call that, or choose another trainer"
            )
        return self.plans_manager.plans

    def former_debug(self) -> Any:
        return super().former_debug() or {PROVENANCE: self.base_provenance}

    def place_source(self) -> Path:
        """The model: what it knows of where its classes lie holds for the extended one."""
        return Path(self.base_folder)

    # ---- learning ------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        self.freeze()
        return super().configure_optimizers()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.train_mode()

    def attach_training_parts(self) -> Mapping[str, TrainingOnly]:
        """None: tokens are the model's."""
        return {}

    def freeze(self) -> None:
        """Leave gradients to the extension alone."""
        trained = {id(parameter) for parameter in self.extension.parameters()}
        for parameter in self.cdpdnet.parameters():
            if id(parameter) not in trained:
                parameter.requires_grad_(False)

    def train_mode(self) -> None:
        """Norms and dropout of what is frozen as in prediction."""
        self.cdpdnet.eval()
        self.extension.train()

    # ---- data ----------------------------------------------------------------------------------------------------------

    def do_split(self) -> tuple[list[str], list[str]]:
        """All cases, in every fold, as nnU-Net has it in fold all."""
        fold, self.fold = self.fold, "all"
        try:
            return super().do_split()
        finally:
            self.fold = fold

    def get_tr_and_val_datasets(self) -> tuple[AnnotatedCases, AnnotatedCases]:
        training, validation = super().get_tr_and_val_datasets()
        new = [self.annotation.classes[place] for place in self.extension.places]
        for cases in (training, validation):
            cases.centre_on(new)
        return training, validation

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        """The host's, with the mirroring of the model, so that its logits stay; none where a new class has a side."""
        *others, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        axes = self.base_mirroring if axes is not None else None
        self.inference_allowed_mirroring_axes = axes
        return (*others, axes)

    def on_train_end(self) -> None:
        """The host's; nnU-Net's export asks for a summary of a validation, of which this one says that it has no case."""
        self.print_to_log_file("No final validation: every case was trained on.")
        validation = Path(self.output_folder, "validation")
        validation.mkdir(exist_ok=True)
        write_json(validation / "summary.json", {"foreground_mean": {}, "mean": {}, "metric_per_case": []})
        super().on_train_end()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: there is no case that was not trained on."""
