"""nnUNetTrainerCDPD: CDPDNet on partially labelled datasets, for plans of nnUNetPlannerCDPD or of nnU-Net's own planners."""

from contextlib import nullcontext
from pathlib import Path

from ..training.console import ConsoleTrainer


class nnUNetTrainerCDPD(ConsoleTrainer):
    """See PartialLabelTrainer; the learning rate and weight decay of the paper, nnU-Net's schedule and augmentation."""

    final_folder: Path | None = None  # of the model, where it is trained elsewhere and moved there when it is whole

    def on_train_start(self) -> None:
        from ..datasets.carried import kept_along

        # The host copies the fingerprint of the dataset over it, also where other folds were calibrated.
        with kept_along(Path(self.output_folder_base)) if self.local_rank == 0 else nullcontext():
            super().on_train_start()

    def on_train_end(self) -> None:
        super().on_train_end()
        self._write_card()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        super().perform_actual_validation(save_probabilities)
        self._write_card()

    def _write_card(self) -> None:
        from ..card.files import card_if_possible

        if self.local_rank == 0 and not self.disable_checkpointing:
            card_if_possible(Path(self.output_folder_base), self.print_to_log_file, self.final_folder)
