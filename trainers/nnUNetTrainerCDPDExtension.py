"""nnUNetTrainerCDPDExtension: what `cdpd extend` trains with; what it does is told in training/extension.py."""

from ..training.extension import ExtensionTrainer
from .nnUNetTrainerCDPD import nnUNetTrainerCDPD


class nnUNetTrainerCDPDExtension(ExtensionTrainer, nnUNetTrainerCDPD):
    """See ExtensionTrainer."""
