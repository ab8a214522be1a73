"""Samples per second of the training loader, beside nnU-Net's own with one region for each class.

    python benchmarks/loader.py [-classes 32] [-patch 128] [-samples 24]
    python benchmarks/evidence write     # the table, from benchmarks/results/loader

Cases are made on the spot (boxes of every class in noise) and stored as nnU-Net stores preprocessed cases. Both loaders read them
in this process, on one thread, with the augmentation of their trainer (nnU-Net's, without mirroring in both), deep
supervision and the same seed. nnU-Net's resamples each label by itself and turns the label map into one channel per class; ours
resamples all labels at once and hands the integer map on, for the loss to look up on the device. Printed too: bytes of one
target, which have to travel to the device. Required: three times the samples per second.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_cdpd.annotation import Annotation, Source, dataset_json_entries
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD
from nnunetv2_cdpd.training.sampling import AnnotatedCases, SourceBalancedDataLoader

AT_LEAST = 3.0  # times as many samples per second
NUM_CASES = 4
NUM_OUTPUTS = 5  # of deep supervision, each half of the one before
ROTATION = (-30 / 360 * 2 * np.pi, 30 / 360 * 2 * np.pi)  # nnU-Net's for patches of equal sides


def make_annotation(num_classes: int) -> Annotation:
    """Two sources, of which one annotates every class and the other every second one."""
    names = tuple(f"class_{k}" for k in range(num_classes))
    values = tuple(range(1, num_classes + 1))
    cases = {f"case_{index}": ("all", "half")[index % 2] for index in range(NUM_CASES)}
    sources = (Source("all", names), Source("half", names[::2]))
    return Annotation(names, values, tuple((value,) for value in values), sources, case_source=cases)


def made_up_cases(
    annotation: Annotation, labels: LabelManager, patch_size: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, Any]]]:
    """Identifier, data, labels (1, x, y, z) and properties of preprocessed cases a good deal larger than a patch.

    Each class is a box of about an organ's size.
    """
    generator = np.random.default_rng(0)
    shape = np.array([1.3, 1.6, 1.5]) * patch_size
    shape = shape.astype(int)
    for case in annotation.case_source:
        seg = np.zeros(shape, np.int16)
        for value in annotation.values:
            size = np.maximum(shape * generator.uniform(0.08, 0.25, 3), 2).astype(int)
            corner = [generator.integers(0, whole - part) for whole, part in zip(shape, size)]
            seg[tuple(slice(start, start + part) for start, part in zip(corner, size))] = value
        data = generator.standard_normal((1, *shape), np.float32)
        voxels = {region: np.argwhere(np.isin(seg, region)) for region in labels.foreground_regions}
        locations = {region: np.insert(generator.permutation(found)[:10_000], 0, 0, axis=1) for region, found in voxels.items()}
        yield case, data, seg[None], {"class_locations": locations}


def make_cases(folder: Path, annotation: Annotation, labels: LabelManager, patch_size: int) -> nnUNetDatasetBlosc2:
    """`made_up_cases` as nnU-Net stores them."""
    for case, data, seg, properties in made_up_cases(annotation, labels, patch_size):
        blocks, chunks = comp_blosc2_params(data.shape, [patch_size] * 3)
        nnUNetDatasetBlosc2.save_case(data, seg, properties, str(folder / case), chunks=chunks, blocks=blocks)
    return nnUNetDatasetBlosc2(str(folder))


def make_loader(ours: bool, dataset: Any, annotation: Annotation, labels: LabelManager, patch_size: int) -> nnUNetDataLoader:
    """The training loader as the trainer of either kind makes it."""
    patch = [patch_size] * 3
    initial = [int(np.ceil(patch_size * 1.6))] * 3  # as nnU-Net's get_patch_size for 30 degrees and a zoom of 0.7
    scales = [[1 / 2**level] * 3 for level in range(NUM_OUTPUTS)]
    arguments = (patch, ROTATION, scales, None, False)
    keywords = {"use_mask_for_norm": [False], "foreground_labels": labels.foreground_labels, "regions": labels.foreground_regions}
    common = {"oversample_foreground_percent": 0.33, "sampling_probabilities": None, "pad_sides": None}
    if not ours:
        transforms = nnUNetTrainer.get_training_transforms(*arguments, **keywords)
        return nnUNetDataLoader(dataset, 2, initial, patch, labels, transforms=transforms, **common)
    trainer = nnUNetTrainerCDPD.__new__(nnUNetTrainerCDPD)  # its transforms need nothing of a trainer
    transforms = trainer.get_training_transforms(*arguments, **keywords)
    return SourceBalancedDataLoader(
        AnnotatedCases(dataset, annotation), 2, initial, patch, labels, transforms=transforms, source_exponent=0.5,
        universal_probability=0.5, **common,
    )  # fmt: skip


def samples_per_second(loader: nnUNetDataLoader, num_samples: int) -> tuple[float, int]:
    """Of one process on one thread; and the bytes of one sample's target."""
    batch = next(loader)  # opens the files
    target = batch["target"]
    size = sum(part.numel() * part.element_size() for part in target) // len(batch["keys"])
    np.random.seed(0)
    torch.manual_seed(0)
    start = time.perf_counter()
    for _ in range(num_samples // 2):
        next(loader)
    return num_samples // 2 * 2 / (time.perf_counter() - start), size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-classes", type=int, default=32)
    parser.add_argument("-patch", type=int, default=128, help="voxels per axis")
    parser.add_argument("-samples", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Figures  # here: other benchmarks import this one

    columns = [("classes, patch", ""), ("loader", ""), ("samples per second", ".2f"), ("target per sample, MiB", ".1f")]
    figures = Figures(__file__, f"{arguments.classes}x{arguments.patch}", columns, samples=arguments.samples)
    annotation = make_annotation(arguments.classes)
    entries = dataset_json_entries(annotation)
    labels = LabelManager(entries["labels"], entries["regions_class_order"])
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_cases(Path(folder), annotation, labels, arguments.patch)
        rates = []
        for ours, name in ((False, "nnU-Net's, one region per class"), (True, "our loader")):
            loader = make_loader(ours, dataset, annotation, labels, arguments.patch)
            rate, size = samples_per_second(loader, arguments.samples)
            rates.append(rate)
            figures.add(f"{arguments.classes}, {arguments.patch}^3", name, rate, size / 2**20)
    figures.write()
    if rates[1] / rates[0] < AT_LEAST:
        raise SystemExit(f"missed: at least {AT_LEAST:g} times nnU-Net's samples per second")


if __name__ == "__main__":
    main()
