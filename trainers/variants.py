"""Variants of nnUNetTrainerCDPD, each a change of its attributes: training lengths, ablations, small networks."""

from dataclasses import replace

from nnunetv2_cdpd.planning.architecture import NetworkSettings
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD


def _length(num_epochs: int) -> dict:
    return {**nnUNetTrainerCDPD.hyperparameters, "num_epochs": num_epochs}


class nnUNetTrainerCDPD_1epoch(nnUNetTrainerCDPD):
    hyperparameters = _length(1)


class nnUNetTrainerCDPD_5epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(5)


class nnUNetTrainerCDPD_10epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(10)


class nnUNetTrainerCDPD_20epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(20)


class nnUNetTrainerCDPD_50epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(50)


class nnUNetTrainerCDPD_100epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(100)


class nnUNetTrainerCDPD_250epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(250)


class nnUNetTrainerCDPD_500epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(500)


class nnUNetTrainerCDPD_2000epochs(nnUNetTrainerCDPD):
    hyperparameters = _length(2000)


class nnUNetTrainerCDPD_noVision(nnUNetTrainerCDPD):
    """Ablation: no slice encoder, no cross-attention."""

    network_settings = replace(NetworkSettings(), vision_model=None)


class nnUNetTrainerCDPD_noText(nnUNetTrainerCDPD):
    """Ablation: skips and bottleneck are not modulated by the class prompts."""

    network_settings = replace(NetworkSettings(), modulate_by_text=False)


class nnUNetTrainerCDPD_noTaskPrompt(nnUNetTrainerCDPD):
    """Ablation: no task prompt map (TTPG); every sample is treated alike."""

    network_settings = replace(NetworkSettings(), task_prompts=False)


class nnUNetTrainerCDPDSmall(nnUNetTrainerCDPD):
    """A recipe with which the networks of nnUNetPlannerCDPDSmall learn in 900 iterations."""

    hyperparameters = {
        **nnUNetTrainerCDPD.hyperparameters,
        "initial_lr": 3e-3,
        "oversample_foreground_percent": 0.67,
        # few long epochs, because nnU-Net draws its progress after each
        "num_epochs": 6,
        "num_iterations_per_epoch": 150,
        "num_val_iterations_per_epoch": 10,
    }


class nnUNetTrainerCDPDSmall_8epochs(nnUNetTrainerCDPDSmall):
    """1200 iterations, of which small lesions have need."""

    hyperparameters = {**nnUNetTrainerCDPDSmall.hyperparameters, "num_epochs": 8}


class nnUNetTrainerCDPDSmall_1epoch(nnUNetTrainerCDPDSmall):
    """Two iterations, one for each of training and validation: a test that everything runs."""

    hyperparameters = {
        **nnUNetTrainerCDPDSmall.hyperparameters,
        "num_epochs": 1,
        "num_iterations_per_epoch": 2,
        "num_val_iterations_per_epoch": 1,
    }
