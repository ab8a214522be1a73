"""Raw data: the nnU-Net datasets of a split of a study: one per source, their merge, and the same as plain nnU-Net sees it."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from commands import run
from patients import MIXED_SOURCES, ORGANS, SOURCES, Patients, Source
from studies import DATASETS
from study import (
    BACKGROUND,
    COMPLETE,
    COMPLETED,
    COMPLETED_BORDERS,
    COMPLETED_CONFIDENT,
    COMPLETED_MIXED,
    MERGED,
    MIXED,
    Study,
)
from visible import write_visible

IDS = {name: 721 + index for index, name in enumerate(DATASETS)}
_OF_SEEDS = {COMPLETED: 790, COMPLETED_MIXED: 760, COMPLETED_BORDERS: 800, COMPLETED_CONFIDENT: 810}
IDS |= {f"{name}{seed}": first + seed for name, first in _OF_SEEDS.items() for seed in range(10)}
TEST = "test"


def dataset_folder(work: Path, name: str, kind: str = "nnUNet_raw") -> Path:
    return work / kind / f"Dataset{IDS[name]}_{name}"


def make_datasets(study: Study, patients: Patients, data: Path, work: Path, split: int) -> None:
    """Write what is not there yet, the patients that are kept back into a folder of their own."""
    dealt = study.dealt(patients, split)
    tested = study.tested(patients, split)
    write_datasets(dealt, tested, data, work)
    if dealt.keys() >= {*SOURCES}:
        merge(work, SOURCES)
        _write_with_background(work)
    if dealt.keys() >= {*MIXED_SOURCES}:
        merge(work, MIXED_SOURCES, MIXED)


def write_datasets(dealt: dict[Source, list[str]], tested: list[str], data: Path, work: Path) -> None:
    """One dataset per source, and one of those that are scored; blanked slices are cut off."""
    visible = work / "visible"
    for patient in sorted({*tested, *(patient for cases in dealt.values() for patient in cases)}):
        if not (visible / "images" / f"{patient}.nii.gz").exists():
            write_visible(data, patient, visible)
    for source, cases in dealt.items():
        _write_dataset(dataset_folder(work, source.name), visible, cases, source)
    _write_dataset(work / TEST, visible, tested, COMPLETE)


def merge(work: Path, sources: Iterable[Source], name: str = MERGED) -> None:
    """By `cdpd merge`, unless it was done."""
    if not (dataset_folder(work, name) / "dataset.json").exists():
        ids = [str(IDS[source.name]) for source in sources]
        run(["cdpd", "merge", "-d", *ids, "--id", str(IDS[name]), "--name", name])


def _write_dataset(folder: Path, data: Path, patients: list[str], source: Source) -> None:
    """Images linked, labels reduced to what the source annotates, with values in its order."""
    if (folder / "dataset.json").exists():
        return
    images, labels = folder / "imagesTr", folder / "labelsTr"
    for path in (images, labels):
        path.mkdir(parents=True, exist_ok=True)
    values = {organ: value for value, organ in enumerate(source.organs, start=1)}
    for patient in patients:
        _link(images / f"{patient}_0000.nii.gz", data / "images" / f"{patient}.nii.gz")
        label = sitk.ReadImage(str(data / "labels" / f"{patient}.nii.gz"))
        _write_labels(labels / f"{patient}.nii.gz", label, {ORGANS[organ]: value for organ, value in values.items()})
    _describe(folder, values, len(patients))


def _write_with_background(work: Path) -> None:
    """All cases of the sources with the values of the complete dataset, and 0 for what a source does not annotate."""
    folder = dataset_folder(work, BACKGROUND)
    if (folder / "dataset.json").exists():
        return
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cases = 0
    for source in SOURCES:
        origin = dataset_folder(work, source.name)
        for path in sorted((origin / "labelsTr").glob("*.nii.gz")):
            name = path.name.removesuffix(".nii.gz")
            _link(folder / "imagesTr" / f"{name}_0000.nii.gz", origin / "imagesTr" / f"{name}_0000.nii.gz")
            values = {value: ORGANS[organ] for value, organ in enumerate(source.organs, start=1)}
            _write_labels(folder / "labelsTr" / path.name, sitk.ReadImage(str(path)), values)
            cases += 1
    _describe(folder, ORGANS, cases)


def join_label_maps(folders: dict[str, Path], joined: Path) -> Path:
    """Predictions of several sources' networks as one; where two claim a voxel, the first in the order of sources keeps it."""
    joined.mkdir(parents=True, exist_ok=True)
    organs = {source.name: source.organs for source in SOURCES}
    for path in sorted(next(iter(folders.values())).glob("*.nii.gz")):
        result = None
        for name, folder in folders.items():
            image = sitk.ReadImage(str(folder / path.name))
            array = sitk.GetArrayFromImage(image)
            result = np.zeros_like(array) if result is None else result
            for value, organ in enumerate(organs[name], start=1):
                result[(array == value) & (result == 0)] = ORGANS[organ]
        label_map = sitk.GetImageFromArray(result)
        label_map.CopyInformation(image)
        sitk.WriteImage(label_map, str(joined / path.name))
    return joined


def _link(link: Path, target: Path) -> None:
    if not link.exists():
        link.symlink_to(target.resolve())


def _write_labels(path: Path, label: sitk.Image, values: dict[int, int]) -> None:
    """Write a label map with new values; those that are not named become 0."""
    table = np.zeros(256, np.uint8)
    for old, new in values.items():
        table[old] = new
    image = sitk.GetImageFromArray(table[sitk.GetArrayFromImage(label)])
    image.CopyInformation(label)
    sitk.WriteImage(image, str(path))


def _describe(folder: Path, values: dict[str, int], num_cases: int) -> None:
    description = {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, **values}, "numTraining": num_cases, "file_ending": ".nii.gz",
        "license": "MIT", "reference": "github ababier/open-kbp",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(description, indent=2))
