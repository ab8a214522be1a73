"""Phantoms as files and as nnU-Net raw datasets, for the tests of the audit and of duplicates in a merge."""

import json
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.demo.phantom import Scanner, make_patient

SCANNER = Scanner(contrast=(1.0, 1.0), blur_mm=2.0, noise_hu=10, spacing_mm=((4.0, 4.2), (5.0, 5.2)))
ORGANS = {"liver": 1, "right_kidney": 2, "left_kidney": 3}


@lru_cache(maxsize=64)
def patient(number):
    return make_patient(SCANNER, seed=number, tumor_probability=0.0)


def image_of(number):
    """CT of a phantom, with its geometry."""
    return on_grid(patient(number).hu, number)


def label_of(number, **values):
    """Label map of a phantom; values: structure -> stored value, by default ORGANS."""
    label = np.zeros(patient(number).hu.shape, np.uint8)
    for name, value in (values or ORGANS).items():
        label[patient(number).masks[name]] = value
    return on_grid(label, number)


def on_grid(array, number):
    return with_geometry(array, patient(number).spacing, patient(number).origin, patient(number).direction)


def with_geometry(array, spacing, origin=(0.0, 0.0, 0.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def mirrored(image, *axes):
    """Voxels mirrored along axes z, y, x of the array, 0 to 2, and the header left as it is."""
    return with_geometry(
        np.flip(sitk.GetArrayFromImage(image), axes), image.GetSpacing(), image.GetOrigin(), image.GetDirection()
    )


def changed(image, change):
    """The same grid with other values."""
    return with_geometry(change(sitk.GetArrayFromImage(image)), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def write_dataset(folder, cases, labels=ORGANS, channel="CT", **extra):
    """A raw dataset; cases: case identifier -> (image, label)."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for case, (image, label) in cases.items():
        sitk.WriteImage(image, str(folder / f"imagesTr/{case}_0000.nii.gz"))
        sitk.WriteImage(label, str(folder / f"labelsTr/{case}.nii.gz"))
    dataset_json = {
        "channel_names": {"0": channel},
        "labels": {"background": 0, **labels},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        **extra,
    }
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    return folder


def phantoms(*numbers):
    """Cases p1, p2, ... of these phantoms."""
    return {f"p{number}": (image_of(number), label_of(number)) for number in numbers}
