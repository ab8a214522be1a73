"""nnUNetTrainerCDPD: CDPDNet on partially labelled datasets, for plans of nnUNetPlannerCDPD or of nnU-Net's own planners."""

from ..training.console import ConsoleTrainer


class nnUNetTrainerCDPD(ConsoleTrainer):
    """See PartialLabelTrainer; the learning rate and weight decay of the paper, nnU-Net's schedule and augmentation."""
