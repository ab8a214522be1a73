"""Variants of nnUNetTrainerCDPD, each a change of its recipe: training lengths, ablations, small networks."""

from dataclasses import replace

from .nnUNetTrainerCDPD import nnUNetTrainerCDPD

RECIPE = nnUNetTrainerCDPD.recipe


class nnUNetTrainerCDPD_1epoch(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=1)


class nnUNetTrainerCDPD_5epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=5)


class nnUNetTrainerCDPD_10epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=10)


class nnUNetTrainerCDPD_20epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=20)


class nnUNetTrainerCDPD_50epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=50)


class nnUNetTrainerCDPD_100epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=100)


class nnUNetTrainerCDPD_250epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=250)


class nnUNetTrainerCDPD_500epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=500)


class nnUNetTrainerCDPD_2000epochs(nnUNetTrainerCDPD):
    recipe = replace(RECIPE, num_epochs=2000)


class nnUNetTrainerCDPD_noVision(nnUNetTrainerCDPD):
    """Ablation: no slice encoder, no cross-attention, on plans that have them."""

    recipe = RECIPE.with_network(vision_tokens=False)


class nnUNetTrainerCDPD_noText(nnUNetTrainerCDPD):
    """Ablation: skips and bottleneck are not modulated by the class prompts."""

    recipe = RECIPE.with_network(modulate_by_text=False)


class nnUNetTrainerCDPD_permutedText(nnUNetTrainerCDPD):
    """Control: every class has the text embedding of another one; which, is the same in every training (docs/text.md)."""

    recipe = RECIPE.with_network(permute_text=True)


class nnUNetTrainerCDPD_noTaskPrompt(nnUNetTrainerCDPD):
    """Ablation: no task prompt map (TTPG); every sample is treated alike."""

    recipe = RECIPE.with_network(task_prompts=False)


class nnUNetTrainerCDPD_place(nnUNetTrainerCDPD):
    """Where a class cannot lie by what `cdpd place` learned, it is a negative in patches of all sources."""

    recipe = replace(RECIPE, place_negatives=True)


class nnUNetTrainerCDPDSmall(nnUNetTrainerCDPD):
    """A recipe with which the networks of nnUNetPlannerCDPDSmall learn in 900 iterations."""

    recipe = replace(
        RECIPE,
        initial_lr=3e-3,
        oversample_foreground_percent=0.67,
        batch_dice=True,  # as nnU-Net plans it where patches cover little of an image; the small planner plans no cascade
        # few long epochs, because nnU-Net draws its progress after each
        num_epochs=6,
        num_iterations_per_epoch=150,
        num_val_iterations_per_epoch=10,
    )


class nnUNetTrainerCDPDSmall_8epochs(nnUNetTrainerCDPDSmall):
    """1200 iterations, of which small lesions have need."""

    recipe = replace(nnUNetTrainerCDPDSmall.recipe, num_epochs=8)


class nnUNetTrainerCDPDSmall_place(nnUNetTrainerCDPDSmall):
    recipe = replace(nnUNetTrainerCDPDSmall.recipe, place_negatives=True)


class nnUNetTrainerCDPDSmall_1epoch(nnUNetTrainerCDPDSmall):
    """Two iterations, one for each of training and validation: a test that everything runs."""

    recipe = replace(nnUNetTrainerCDPDSmall.recipe, num_epochs=1, num_iterations_per_epoch=2, num_val_iterations_per_epoch=1)
