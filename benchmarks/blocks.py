"""Memory and time of all that is not the network: windows summed up, blocks finished and labelled, at the image's own spacing.

    python benchmarks/blocks.py [--shape 600 512 512] [--classes 117] [--patch 128 128 128] [--features 32]
    python benchmarks/evidence write     # the table, from benchmarks/results/blocks

In place of a network, sines of the image, so that classes lie in layers. nnU-Net holds a half per class and voxel at this point,
which is told beside, and more while it exports.
"""

import argparse
import resource
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.inference.blocks import Readout
from nnunetv2_cdpd.inference.export import Geometry
from nnunetv2_cdpd.inference.label_map import LabelMap
from nnunetv2_cdpd.inference.nesting import ClassTree
from nnunetv2_cdpd.inference.sliding_window import Ensemble, blocks_of_logits
from nnunetv2_cdpd.volumes.axes import LINEAR, axis_resamplings

FEW_LOGITS = -6.0  # bias, so that few classes are above 0.5 in a voxel


def make_image(shape: tuple[int, ...]) -> torch.Tensor:
    """(1, x, y, z), no two places alike."""
    image = torch.zeros(1, *shape)
    for axis, length in enumerate(shape):
        waves = torch.sin(torch.linspace(0, 7 + axis, length))
        image += waves.view([-1 if other == axis else 1 for other in range(3)])
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[600, 512, 512])
    parser.add_argument("--classes", type=int, default=117)
    parser.add_argument("--patch", type=int, nargs=3, default=[128, 128, 128])
    parser.add_argument("--features", type=int, default=32, help="of the decoder's last stage")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape, patch = tuple(args.shape), tuple(args.patch)
    generator = torch.Generator().manual_seed(0)
    frequencies = torch.randn(args.features, generator=generator).view(1, -1, 1, 1, 1)
    values = torch.empty(1, args.features, *patch)
    seconds = {"stand-in for the network": 0.0, "label map": 0.0}

    def run(network: int, windows: torch.Tensor) -> torch.Tensor:
        start = time.process_time()
        torch.mul(windows, frequencies, out=values).sin_()
        seconds["stand-in for the network"] += time.process_time() - start
        return values

    names, stored = tuple(f"class_{k}" for k in range(args.classes)), tuple(range(1, args.classes + 1))
    tree = ClassTree.of(Annotation(names, stored, tuple((k,) for k in stored), (Source("s", names),)))
    geometry = Geometry(axis_resamplings([LINEAR] * 3, shape, shape), tuple(map(slice, shape)), shape, (0, 1, 2))
    labels = LabelMap(range(args.classes), geometry, tree)
    readout = Readout(
        0.7 * torch.randn(args.classes, args.features, generator=generator), torch.full((args.classes,), FEW_LOGITS)
    )
    starts = compute_steps_for_sliding_window(shape, patch, 0.5)
    slicers = [(slice(None), *(slice(a, a + n) for a, n in zip(place, patch))) for place in product(*starts)]
    begin = time.process_time()
    blocks = blocks_of_logits(
        make_image(shape), slicers, Ensemble(run, 1, args.features, False, readout),
        third_axis=0, use_gaussian=True, windows_per_batch=1, device=torch.device("cpu"), progress=False,
    )  # fmt: skip
    for block in blocks:
        start = time.process_time()
        labels.add(block)
        seconds["label map"] += time.process_time() - start
    seconds["windows summed up"] = time.process_time() - begin - sum(seconds.values())
    peak, halves = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2 * args.classes * np.prod(shape) / 2**30
    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Figures  # here: it would count in the memory

    figures = Figures(
        __file__,
        f"{'x'.join(map(str, shape))}_{args.classes}",
        [("voxels", ""), ("classes", "d"), ("all, GiB", ".2f"), ("halves of all logits alone, GiB", ".1f"), ("windows", "d")]
        + [("windows summed up, CPU s", ".1f"), ("label map, CPU s", ".1f")],
        patch=patch, features=args.features, threads=args.threads,
        stand_in_cpu_seconds=round(seconds["stand-in for the network"], 1), labelled=round(float((labels.array > 0).mean()), 2),
    )  # fmt: skip
    voxels = " x ".join(map(str, shape))
    figures.add(voxels, args.classes, peak, float(halves), len(slicers), seconds["windows summed up"], seconds["label map"])
    figures.write()


if __name__ == "__main__":
    main()
