"""nnUNetTrainerCDPDExtension: what `cdpd extend` trains with; training/extension.py and distillation.py tell what it does."""

from ..training.distillation import UnfrozenExtensionTrainer
from ..training.extension import ExtensionTrainer
from .nnUNetTrainerCDPD import nnUNetTrainerCDPD


class nnUNetTrainerCDPDExtension(ExtensionTrainer, nnUNetTrainerCDPD):
    """See ExtensionTrainer."""


class nnUNetTrainerCDPDExtensionUnfrozen(UnfrozenExtensionTrainer, nnUNetTrainerCDPD):
    """See UnfrozenExtensionTrainer."""
