"""nnU-Net raw datasets on disk for the tests of merging: anisotropic, rotated volumes, every axis of another length."""

import json

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.merge import merge_datasets
from nnunetv2_cdpd.merge.output import MERGE_RECORD_FILE

SHAPE = (5, 7, 6)  # z, y, x
SPACING = (0.8, 1.25, 3.0)
ANGLE = 0.3
DIRECTION = (np.cos(ANGLE), -np.sin(ANGLE), 0, np.sin(ANGLE), np.cos(ANGLE), 0, 0, 0, -1)


def write_volume(path, array, spacing=SPACING, origin=(-12.5, 30.0, 7.25), direction=DIRECTION):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def make_dataset(folder, labels, cases, channels=("CT",), ending=".nii.gz", stored=None, **extra):
    """An nnU-Net raw dataset whose label maps hold the stored values at random; every declared one by default."""
    values = {value for label in labels.values() for value in np.atleast_1d(label).tolist()} if stored is None else set(stored)
    for number, case in enumerate(cases):
        generator = np.random.default_rng(number)
        for channel in range(len(channels)):
            write_volume(folder / f"imagesTr/{case}_{channel:04d}{ending}", generator.normal(size=SHAPE).astype(np.float32))
        write_volume(folder / f"labelsTr/{case}{ending}", generator.choice([0, *values], SHAPE).astype(np.uint8))
    dataset_json = {
        "channel_names": {str(k): name for k, name in enumerate(channels)},
        "labels": {"background": 0, **labels},
        "numTraining": len(cases),
        "file_ending": ending,
        **extra,
    }
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    return folder


def make_two(raw):
    """Dataset301_LITS and Dataset302_ORGANS, which share the liver."""
    make_dataset(raw / "Dataset301_LITS", {"liver": 1, "liver_tumor": 2}, ["a1", "a2", "a3"])
    make_dataset(raw / "Dataset302_ORGANS", {"spleen": 1, "Liver": 2}, ["b1", "b2"], licence="CC0")
    return raw


def merge(*datasets, **options):
    messages = []
    given = {"num_processes": 1, "progress": False, "report": messages.append} | options
    folder = merge_datasets(datasets, 400, "M", **given)
    return folder, messages


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def states(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MERGE_RECORD_FILE
    }


def spoil_values(path):
    write_volume(path, np.where(read(path) == 0, 7, read(path)).astype(np.uint8))
