"""nnUNetTrainerCDPDPaper: the paper's recipe, for plans of nnUNetPlannerCDPDPaper and for any others (training/paper.py).

Source: Wu et al., CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet).
"""

from dataclasses import replace

from ..training.paper import PaperTrainer


class nnUNetTrainerCDPDPaper(PaperTrainer):
    """See the module."""


class nnUNetTrainerCDPDPaper_1epoch(nnUNetTrainerCDPDPaper):
    """Two iterations, one for each of training and validation: a test that everything runs."""

    recipe = replace(PaperTrainer.recipe, num_epochs=1, num_iterations_per_epoch=2, num_val_iterations_per_epoch=1)
