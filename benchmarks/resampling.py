"""Resampling of images, ours by axis and nnU-Net's own: CPU seconds, and how far the results are apart.

    python benchmarks/resampling.py [--rounds 3]
    python benchmarks/resampling.py --preprocessing [--rounds 3]
    python benchmarks/evidence write     # the table, from benchmarks/results/resampling

Volumes are noise, since time does not depend on what they hold. One thread; both ways run in turn in every round, and the
ratio is the median over rounds. The difference is the largest of any voxel, in parts of the volume's range.

--preprocessing: nnU-Net's whole preprocessing of a training case (crop, normalisation, image, label map, places of the
classes), on plans that name nnU-Net's function for images and on plans that name ours; the label map is nnU-Net's in both.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parent / "evidence"))
from builders import model as tiny_model
from figures import Figures

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.link import RESAMPLING, ensure_linked
from nnunetv2_cdpd.volumes.interpolation import resample_by_axis

# shape in voxels, its spacing in mm, the network's spacing in mm
VOLUMES = (
    ((300, 512, 512), (1.0, 0.8, 0.8), (1.5, 1.5, 1.5)),
    ((600, 512, 512), (1.0, 0.8, 0.8), (1.5, 1.5, 1.5)),
    ((600, 512, 512), (1.0, 0.8, 0.8), (3.0, 3.0, 3.0)),
    ((100, 512, 512), (5.0, 0.8, 0.8), (2.5, 1.0, 1.0)),  # slices are treated separately
    ((150, 256, 256), (1.5, 1.5, 1.5), (1.0, 0.8, 0.8)),
)


IMAGE_COLUMNS = [("image", ""), ("mm", ""), ("mm of the network", "")]


def told(*sizes: tuple[float, ...]) -> list[str]:
    return [" x ".join(f"{number:g}" for number in size) for size in sizes]


def timed(function: Callable[..., np.ndarray], *arguments: object) -> tuple[float, np.ndarray]:
    """CPU seconds, and the result."""
    before = time.process_time()
    result = function(*arguments, order=3, order_z=0, force_separate_z=None)
    return time.process_time() - before, result


def ellipsoids(shape: tuple[int, ...], count: int) -> np.ndarray:
    """A label map (1, z, y, x) of so many structures, of random size and place."""
    rng = np.random.default_rng(0)
    labels = np.zeros((1, *shape), np.int8)  # preprocessing marks the outside by -1
    for value in range(1, count + 1):
        radius = rng.uniform(0.02, 0.12, 3) * shape
        centre = rng.uniform(radius, shape - radius)
        box = tuple(slice(int(c - r), int(c + r) + 1) for c, r in zip(centre, radius))
        axes = np.ogrid[box]
        labels[(0, *box)][sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius)) < 1] = value
    return labels


def preprocessing(rounds: int) -> None:
    """CPU seconds of a training case with either function."""
    ensure_linked()
    columns = [*IMAGE_COLUMNS, ("classes", "d"), ("nnU-Net, CPU s", ".1f"), ("ours, CPU s", ".1f"), ("ratio", ".2f")]
    columns += [("difference", ".0e"), ("label map", "")]
    figures = Figures(__file__, "preprocessing", columns, rounds=rounds)
    shape, spacing, target = VOLUMES[0]
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    for count in (4, 24):
        names, values = tuple(f"class_{k}" for k in range(count)), tuple(range(1, count + 1))
        annotation = Annotation(names, values, tuple((value,) for value in values), (Source("s", names),))
        straight = {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2]}
        dataset_json, labels = tiny_model.make_dataset_json(annotation), ellipsoids(shape, count)
        seconds = []
        for _ in range(rounds):
            results = []
            for function in (resample_data_or_seg_to_shape.__name__, RESAMPLING):
                plans = PlansManager(
                    tiny_model.make_plans(annotation, spacing=list(target), resampling_fn_data=function) | straight
                )
                managers = plans, plans.get_configuration(tiny_model.CONFIGURATION), dataset_json
                before = time.process_time()
                properties = {"spacing": spacing}
                data, seg, _ = DefaultPreprocessor(verbose=False).run_case_npy(image, labels, properties, *managers)
                results.append((time.process_time() - before, data, seg))
            (stock, expected, expected_seg), (ours, found, found_seg) = results
            seconds.append((stock, ours))
        stock, ours = (statistics.median(column) for column in zip(*seconds))
        ratio = statistics.median(stock / ours for stock, ours in seconds)
        difference = float(np.abs(found - expected).max() / np.ptp(expected))
        same = "identical" if np.array_equal(found_seg, expected_seg) else "DIFFERENT"
        figures.add(*told(shape, spacing, target), count, stock, ours, ratio, difference, same)
    figures.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preprocessing", action="store_true", help="a training case as a whole")
    args = parser.parse_args()
    rounds = args.rounds
    torch.set_num_threads(1)
    if args.preprocessing:
        preprocessing(rounds)
        return
    rng = np.random.default_rng(0)
    columns = [*IMAGE_COLUMNS, ("nnU-Net, CPU s", ".1f"), ("ours, CPU s", ".2f"), ("ratio", ".1f"), ("difference", ".0e")]
    figures = Figures(__file__, "images", columns, rounds=rounds)
    for shape, spacing, target in VOLUMES:
        data = rng.normal(size=(1, *shape)).astype(np.float32)
        arguments = (data, compute_new_shape(shape, spacing, target), spacing, target)
        seconds = []
        for _ in range(rounds):
            stock, expected = timed(resample_data_or_seg_to_shape, *arguments)
            ours, found = timed(resample_by_axis, *arguments)
            seconds.append((stock, ours))
            difference = float(np.abs(found - expected).max() / np.ptp(data))
        stock, ours = (statistics.median(column) for column in zip(*seconds))
        ratio = statistics.median(stock / ours for stock, ours in seconds)
        figures.add(*told(shape, spacing, target), stock, ours, ratio, difference)
    figures.write()


if __name__ == "__main__":
    main()
