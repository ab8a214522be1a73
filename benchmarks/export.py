"""From logits to the label map of an image: time and peak memory of our export and of nnU-Net's, on the same logits.

    python benchmarks/export.py                       # all sizes that fit into --memory, ours alone at 512 x 512 x 600
    python benchmarks/export.py --sizes small --logits noise
    python benchmarks/evidence write     # the table, from benchmarks/results/export

Each run is a process of its own, whose peak memory counts everything: Python, torch, the logits (halves, as nnU-Net's
sliding window returns them) and the label map. Logits are 32 heads at 1.5 mm: `organs` are noisy ellipsoids of random size and
place, together a tenth of the volume; `noise` is the worst case for us, every class possible everywhere.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_CLASSES = 32
SIZES = {  # logits -> image, the network's order of axes
    "small": ((100, 134, 134), (150, 250, 250)),
    "medium": ((150, 200, 200), (225, 375, 375)),
    "large": ((200, 230, 230), (300, 430, 430)),
    "full": ((400, 273, 273), (600, 512, 512)),
}
METHODS = ("ours", "nnunet", "nnunet_torch", "exact")
LOGITS = {"organs": "organ-like", "noise": "noise"}
COLUMNS = [("logits -> image", ""), ("logits", ""), ("ours, s", ".2f"), ("GiB", ".2f"), ("stock, s", ".1f"), ("GiB", ".2f")]
COLUMNS += [("ratio", ".0f"), ("stock, torch, s", ".1f"), ("GiB", ".2f"), ("equal to double precision", ".5%")]


def make_logits(path: Path, shape: tuple[int, int, int], kind: str) -> None:
    """Write logits of all classes, one after the other."""
    import numpy as np

    generator = np.random.default_rng(0)
    logits = np.lib.format.open_memmap(path, "w+", np.float16, (NUM_CLASSES, *shape))
    axes = np.ogrid[tuple(slice(0.5 / n, 1, 1 / n) for n in shape)]
    for k in range(NUM_CLASSES):
        noise = generator.standard_normal(shape, np.float32)
        if kind == "organs":
            centre, radius = generator.uniform(0.2, 0.8, 3), generator.uniform(0.04, 0.2, 3)
            distance = sum((((axis - c) / r) ** 2).astype(np.float32) for axis, c, r in zip(axes, centre, radius))
            noise = np.clip(8 * (1 - np.sqrt(distance)), -15, 15) + 0.5 * noise
        logits[k] = noise
    logits.flush()


def run(method: str, logits_file: Path, new_shape: tuple[int, int, int], output: Path, num_threads: int) -> None:
    """One export in this process; prints its time and peak memory as JSON."""
    import numpy as np
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_cdpd.annotation import Annotation, Source
    from nnunetv2_cdpd.inference.export import place_logits
    from nnunetv2_cdpd.inference.label_map import label_map
    from nnunetv2_cdpd.inference.nesting import ClassTree

    torch.set_num_threads(num_threads)
    names = tuple(f"class_{k}" for k in range(NUM_CLASSES))
    values = tuple(range(1, NUM_CLASSES + 1))
    tree = ClassTree.of(Annotation(names, values, tuple((value,) for value in values), (Source("s", names),)))
    torch_resampling = method == "nnunet_torch"
    configuration = {
        "spacing": [1.5, 1.5, 1.5],
        "patch_size": [96, 96, 96],
        "resampling_fn_probabilities": "resample_torch_fornnunet" if torch_resampling else "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "force_separate_z": None}
        | ({} if torch_resampling else {"order": 1, "order_z": 0}),
        "architecture": {},
    }
    plans = PlansManager(
        {
            "configurations": {"3d_fullres": configuration},
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "label_manager": "LabelManager",
        }
    )
    logits = torch.from_numpy(np.load(logits_file))
    properties = {
        "spacing": [1.5 * n / m for n, m in zip(logits.shape[1:], new_shape)],
        "shape_before_cropping": new_shape,
        "shape_after_cropping_and_before_resampling": new_shape,
        "bbox_used_for_cropping": [[0, m] for m in new_shape],
    }
    manager = plans.get_configuration("3d_fullres")
    labels = {"background": 0, **{name: [k + 1, k + 1] for k, name in enumerate(names)}}
    dataset_json = {"labels": labels, "regions_class_order": list(values)}
    start = time.perf_counter()
    if method == "ours":
        logits, geometry = place_logits(logits, plans, manager, properties)
        found = label_map(logits, range(NUM_CLASSES), geometry, tree)
    elif method == "exact":
        found = exact(logits, new_shape)
    else:
        found = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, plans, manager, plans.get_label_manager(dataset_json), properties, num_threads_torch=num_threads
        )
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    np.save(output, found.astype(np.uint8))
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


def exact(logits, new_shape):
    """What our export should give: all voxels in double precision, a slice of the image at a time."""
    import numpy as np
    import torch

    found = np.zeros(new_shape, np.uint8)
    n, m = logits.shape[1], new_shape[0]
    for i in range(m):
        position = min(max((i + 0.5) * n / m - 0.5, 0), n - 1)
        lower = int(position)
        upper, fraction = min(lower + 1, n - 1), position - lower
        slices = (1 - fraction) * logits[:, lower].double() + fraction * logits[:, upper].double()
        values = torch.nn.functional.interpolate(slices[None], new_shape[1:], mode="bilinear")[0]
        best, winner = values.max(0)
        found[i] = torch.where(best > 0, winner + 1, 0).numpy()
    return found


def measured(method: str, logits_file: Path, size: str, output: Path, args: argparse.Namespace) -> dict[str, float] | None:
    """A run in a process of its own; None: it did not survive the memory limit."""
    script = (
        "import resource, sys; limit = int(float(sys.argv[6]) * 2**30); "
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)); sys.path.insert(0, sys.argv[1]); "
        "import export; from pathlib import Path; "
        "export.run(sys.argv[2], Path(sys.argv[3]), export.SIZES[sys.argv[4]][1], Path(sys.argv[5]), int(sys.argv[7]))"
    )
    arguments = [Path(__file__).parent, method, logits_file, size, output, args.memory, args.threads]
    result = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1:] or [f"killed by signal {-result.returncode}"]
        if result.returncode != -signal.SIGKILL and "memory" not in reason[0].lower():
            sys.exit(f"{method}: {result.stderr}")
        print(f"    {method}: did not finish within {args.memory} GiB ({reason[0][:100]})", flush=True)
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--logits", nargs="+", choices=LOGITS, default=list(LOGITS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--memory", type=float, default=16, help="GiB for a run (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for the logits (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for size in args.sizes:
            for kind in args.logits:
                shape, new_shape = SIZES[size]
                print(f"{size}, {kind}: {NUM_CLASSES} classes, {shape} -> {new_shape}", flush=True)
                logits_file = Path(folder) / "logits.npy"
                make_logits(logits_file, shape, kind)
                compare(logits_file, size, kind, Path(folder), args)


def compare(logits_file: Path, size: str, kind: str, folder: Path, args: argparse.Namespace) -> None:
    import numpy as np

    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Cell, Figures  # here: it would count in the memory of the processes that are measured

    runs: dict[str, dict[str, float]] = {}
    cells: dict[str, list[Cell]] = {method: [None, None] for method in METHODS}
    for method in args.methods:
        if size == "full" and method.startswith("nnunet"):
            cells[method] = ["does not fit", None]
            continue  # halves of all classes at full size alone take 9.4 GiB, the doubles that they are made from more
        found = measured(method, logits_file, size, folder / f"{method}.npy", args)
        cells[method] = ["does not fit", None] if found is None else [found["seconds"], found["peak_gib"]]
        if found is not None:
            runs[method] = found
    ratio = runs["nnunet"]["seconds"] / runs["ours"]["seconds"] if {"ours", "nnunet"} <= runs.keys() else None
    equal = None
    if {"ours", "exact"} <= runs.keys():
        ours, expected = (np.load(folder / f"{method}.npy", mmap_mode="r") for method in ("ours", "exact"))
        equal = float(np.mean([np.mean(a == b) for a, b in zip(ours, expected)]))
    shape, new_shape = ("x".join(map(str, its)) for its in SIZES[size])
    figures = Figures(__file__, f"{shape}_{kind}", COLUMNS, classes=NUM_CLASSES, threads=args.threads, memory_gib=args.memory)
    figures.add(f"{shape} -> {new_shape}", LOGITS[kind], *cells["ours"], *cells["nnunet"], ratio, *cells["nnunet_torch"], equal)
    figures.write()


if __name__ == "__main__":
    main()
