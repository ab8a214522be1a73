"""A tiny trained model and raw datasets with further classes, for tests that extend it in this process."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from builders.model import make_image, write_model
from builders.training import environment
from nnunetv2_cdpd.extension import extend_model
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDExtension import (
    nnUNetTrainerCDPDExtension,
    nnUNetTrainerCDPDExtensionUnfrozen,
)

LABELS = {"liver": 1, "aorta": 2}  # of the further dataset: one class that the model has, and a new one
QUICK = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1, "save_every": 1}


@contextmanager
def extension_folders(root, **model):
    """nnU-Net's folders, a model folder `model` and the raw dataset 860; sets the environment, and trainings are short."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(root).items():
            patch.setenv(name, value)
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (root / name).mkdir()
        for trainer in (nnUNetTrainerCDPDExtension, nnUNetTrainerCDPDExtensionUnfrozen):
            patch.setattr(trainer, "recipe", replace(trainer.recipe, **QUICK))
        write_model(root / "model", **model)
        write_dataset(root, 860, LABELS)
        yield root


def write_dataset(root, number, labels, *, cases=2, channels=("CT",), **description):
    """nnUNet_raw/Dataset<number>_More: bright boxes, one for each value of the labels."""
    folder = root / "nnUNet_raw" / f"Dataset{number}_More"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    values = sorted({value for label in labels.values() for value in np.atleast_1d(label).tolist()} - {0})
    for case in range(cases):
        image, label = make_image(seed=10 * number + case), np.zeros((26, 21, 34), np.uint8)
        for place, value in enumerate(values):
            box = np.s_[6:18, 3 + 3 * place : 6 + 3 * place, 6:24]
            image[box], label[box] = 200 + 40 * value, value
        for channel in range(len(channels)):
            _write(folder / "imagesTr" / f"case_{case}_{channel:04d}.nii.gz", image)
        _write(folder / "labelsTr" / f"case_{case}.nii.gz", label)
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, **labels},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **description,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def _write(path, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.4, 1.1, 2.5))
    sitk.WriteImage(image, str(path))


def extend(root, dataset=860, output="extended", model="model", **options):
    """The extended model's folder, and the lines that were told."""
    told = []
    options = {"device": "cpu", "num_processes": 1, "progress": False, "report": told.append, **options}
    return extend_model(root / model, dataset, root / output, **options), told
