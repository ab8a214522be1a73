"""Resampling of images, ours by axis and nnU-Net's own: CPU seconds, and how far the results are apart.

    python benchmarks/resampling.py [--rounds 3]

Volumes are noise, since time does not depend on what they hold. One thread; both ways run in turn in every round, and the
ratio is the median over rounds. The difference is the largest of any voxel, in parts of the volume's range.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

from nnunetv2_cdpd.volumes.interpolation import resample_by_axis

# shape in voxels, its spacing in mm, the network's spacing in mm
VOLUMES = (
    ((300, 512, 512), (1.0, 0.8, 0.8), (1.5, 1.5, 1.5)),
    ((600, 512, 512), (1.0, 0.8, 0.8), (1.5, 1.5, 1.5)),
    ((600, 512, 512), (1.0, 0.8, 0.8), (3.0, 3.0, 3.0)),
    ((100, 512, 512), (5.0, 0.8, 0.8), (2.5, 1.0, 1.0)),  # slices are treated separately
    ((150, 256, 256), (1.5, 1.5, 1.5), (1.0, 0.8, 0.8)),
)


def timed(function: Callable[..., np.ndarray], *arguments: object) -> tuple[float, np.ndarray]:
    """CPU seconds, and the result."""
    before = time.process_time()
    result = function(*arguments, order=3, order_z=0, force_separate_z=None)
    return time.process_time() - before, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print("| image | mm | mm of the network | nnU-Net, CPU s | ours, CPU s | ratio | difference |")
    print("|---|---|---|---:|---:|---:|---:|")
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
        texts = [" x ".join(f"{number:g}" for number in numbers) for numbers in (shape, spacing, target)]
        print(f"| {' | '.join(texts)} | {stock:.1f} | {ours:.2f} | {ratio:.1f} | {difference:.0e} |", flush=True)


if __name__ == "__main__":
    main()
