"""nnUNetTrainerCDPD: nnU-Net's trainer for CDPDNet on partially labelled datasets.

Source: Wu et al., CDPDNet, arXiv 2505.18958.
"""

from ..training.trainer import PartialLabelTrainer


class nnUNetTrainerCDPD(PartialLabelTrainer):
    """Trains CDPDNet on plans of nnUNetPlannerCDPD or of nnU-Net's own planners; training/trainer.py tells how."""
