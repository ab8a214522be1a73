"""nnUNetTrainerCDPD: CDPDNet on partially labelled datasets, for plans of nnUNetPlannerCDPD or of nnU-Net's own planners."""

from ..training.trainer import PartialLabelTrainer


class nnUNetTrainerCDPD(PartialLabelTrainer):
    """See PartialLabelTrainer; the learning rate and weight decay of the paper, nnU-Net's schedule and augmentation."""
