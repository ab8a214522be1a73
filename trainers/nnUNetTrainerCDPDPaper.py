"""nnUNetTrainerCDPDPaper: the paper's recipe; what it does is told in training/paper_recipe.py."""

from dataclasses import replace

from ..training.paper_recipe import PaperRecipeTrainer
from .nnUNetTrainerCDPD import nnUNetTrainerCDPD


class nnUNetTrainerCDPDPaper(PaperRecipeTrainer, nnUNetTrainerCDPD):
    """See PaperRecipeTrainer."""


class nnUNetTrainerCDPDPaper_1epoch(nnUNetTrainerCDPDPaper):
    """Two iterations, one for each of training and validation: a test that everything runs."""

    recipe = replace(nnUNetTrainerCDPDPaper.recipe, num_epochs=1, num_iterations_per_epoch=2, num_val_iterations_per_epoch=1)
