"""Prediction without a GPU: a CT of 512 x 512 x 600 voxels with 104 classes, on the network of nnUNetPlannerCDPDCPU.

    python benchmarks/two_cores.py [--threads 2] [--planner nnUNetPlannerCDPDCPU] [--encoder dinov2-small] [--step_size 0.5]
    python benchmarks/evidence write     # the table, from benchmarks/results/two_cores

The plans are those that the planner makes for CTs of 0.8 x 0.8 x 1 mm, 400 to 600 slices. Weights are random, each class above
0.5 in one voxel of a hundred; the CT is a noisy ellipse of soft tissue in air. Both are made first; then a process of its own
predicts as `cdpd predict` does, and its peak memory counts everything: Python, torch, weights, image, label map.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

SPACING_MM, SHAPE = (1.0, 0.8, 0.8), (600, 512, 512)  # z, y, x
POSITIVE = 0.01  # share of voxels in which a class is above 0.5
DATASET = "Dataset901_TwoCores"


def make(work: Path, planner: str, num_classes: int) -> None:
    """Model and image in a folder, unless they are there."""
    work.mkdir(parents=True, exist_ok=True)
    os.environ |= {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    if not (work / "model").exists():
        make_model(work, planner, num_classes)
    if not (work / "ct.nii.gz").exists():
        make_image(work / "ct.nii.gz")


def make_image(path: Path) -> None:
    import numpy as np
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    y, x = np.ogrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = (y / 0.65) ** 2 + (x / 0.9) ** 2 < 1
    image = np.full(SHAPE, -1000, np.int16)
    for plane in image:
        plane[body] = (40 + 25 * rng.standard_normal(body.sum())).astype(np.int16)
    volume = sitk.GetImageFromArray(image)
    volume.SetSpacing(SPACING_MM[::-1])
    sitk.WriteImage(volume, str(path))


def make_model(root: Path, planner_name: str, num_classes: int) -> Path:
    """A model folder with the planner's plans for such CTs."""
    import numpy as np
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from builders import model as tiny_model
    from builders.planning import INTENSITIES

    from nnunetv2_cdpd.annotation import Annotation, Source, dataset_json_entries
    from nnunetv2_cdpd.link import find_class

    names, values = tuple(f"class_{k}" for k in range(num_classes)), tuple(range(1, num_classes + 1))
    cases = {f"case_{i}": "s" for i in range(20)}
    annotation = Annotation(names, values, tuple((v,) for v in values), (Source("s", names),), case_source=cases)
    raw, preprocessed = (root / name / DATASET for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    for folder in (raw, preprocessed):
        folder.mkdir(parents=True)
    files = {case: {"images": [f"{case}.nii.gz"], "label": f"{case}_label.nii.gz"} for case in cases}
    described = {"channel_names": {"0": "CT"}, "numTraining": 20, "file_ending": ".nii.gz", "dataset": files}
    (raw / "dataset.json").write_text(json.dumps(described | dataset_json_entries(annotation)))
    fingerprint = {
        "spacings": [SPACING_MM] * 20, "shapes_after_crop": [[400, *SHAPE[1:]]] * 10 + [SHAPE] * 10,
        "median_relative_size_after_cropping": 1.0, "foreground_intensity_properties_per_channel": INTENSITIES,
    }  # fmt: skip
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    with redirect_stdout(StringIO()):
        planner = find_class(planner_name)(901)
        planner.determine_reader_writer = lambda: find_reader()
        planner.plan_experiment()
    plans = json.loads((preprocessed / f"{planner.plans_identifier}.json").read_text())
    dataset_json = tiny_model.make_dataset_json(annotation)
    network = tiny_model.make_network(plans, dataset_json)
    configuration = plans["configurations"]["3d_fullres"]
    architecture = configuration["architecture"]["arch_kwargs"]
    print(f"{planner_name}: patch {configuration['patch_size']}, {configuration['spacing']} mm, features "
          f"{architecture['features_per_stage']}, fused stages {architecture['fused_stages']}")  # fmt: skip
    with torch.inference_mode():
        seen = torch.randn((1, 1, *configuration["patch_size"]), generator=torch.Generator().manual_seed(0))
        sample = network(seen)[0].flatten(1)[:, ::997].numpy()
    network.decoder.seg_layers[-1].bias.data -= torch.from_numpy(np.quantile(sample, 1 - POSITIVE, axis=1)).float()
    folder = root / "model"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    checkpoint = {
        "network_weights": network.state_dict(), "trainer_name": tiny_model.TRAINER, "inference_allowed_mirroring_axes": None,
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": 0, "dataset_json": dataset_json},
    }  # fmt: skip
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def find_reader() -> type:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    return SimpleITKIO


def predict(model: Path, image: Path, output: Path, threads: int, step_size: float) -> None:
    """Predict in this process, and write what each step takes."""
    rows = []
    started, last = (time.perf_counter(), time.process_time()), [time.perf_counter(), time.process_time()]

    def tell(step: str, since: Sequence[float] = last) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        now = time.perf_counter(), time.process_time()
        rows.append((step, now[0] - since[0], now[1] - since[1], peak))
        print(step, f"{rows[-1][1]:.1f} s", flush=True)
        last[:] = now

    import torch

    from nnunetv2_cdpd.inference.prediction import Prediction
    from nnunetv2_cdpd.inference.predictor import Predictor

    torch.set_num_threads(threads)
    tell("imports")
    predictor = Predictor.from_folder(model, device="cpu", tile_step_size=step_size)
    tell("model")
    shapes = []
    preprocess, write = predictor.preprocess_files, Prediction.write_label_map

    def preprocessed(*args: Any, **kwargs: Any) -> Any:
        case = preprocess(*args, **kwargs)
        shapes.append(tuple(case.data.shape[1:]))
        tell("reading, preprocessing")
        return case

    def written(*args: Any, **kwargs: Any) -> None:
        tell("windows, label map")
        write(*args, **kwargs)
        tell("writing")

    predictor.preprocess_files, Prediction.write_label_map = preprocessed, written
    prediction = predictor.predict(image, output=output)
    tell("all", started)
    patch = predictor.configuration_manager.patch_size
    padded = [max(pair) for pair in zip(shapes[0], patch)]
    windows = len(predictor._internal_get_sliding_window_slicers(padded))
    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Figures  # here: it would count in time and memory

    classes = len(predictor.annotation.classes)
    figures = Figures(
        __file__,
        f"{predictor.plans_manager.plans_name}_{classes}_classes_{threads}_threads_step_{step_size:g}",
        [("step", ""), ("s", ".1f"), ("CPU s", ".1f"), ("peak memory by then, GiB", ".2f")],
        threads=threads, voxels=shapes[0], windows=windows, patch=list(patch),
        labelled=round(float((prediction.label_map > 0).mean()), 2),
    )  # fmt: skip
    for row in rows:
        figures.add(*row)
    figures.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--classes", type=int, default=104)
    parser.add_argument("--planner", default="nnUNetPlannerCDPDCPU")
    parser.add_argument("--encoder", default="dinov2-small", help="of vision tokens; '': none")
    parser.add_argument("--step_size", type=float, default=0.5)
    parser.add_argument("--work", type=Path, help="folder to keep, and to take if it is there (default: a temporary one)")
    parser.add_argument("--part", choices=("make", "predict"), help=argparse.SUPPRESS)  # each in a process of its own
    args = parser.parse_args()
    if args.part == "make":
        os.environ["CDPD_VISION_ENCODER"] = args.encoder
        make(args.work, args.planner, args.classes)
        return
    if args.part == "predict":
        predict(args.work / "model", args.work / "ct.nii.gz", args.work / "labels.nii.gz", args.threads, args.step_size)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        given = {
            "--planner": args.planner,
            "--classes": args.classes,
            "--threads": args.threads,
            "--step_size": args.step_size,
            "--encoder": args.encoder,
        }
        options = [str(text) for pair in given.items() for text in pair]
        for part in ("make", "predict"):  # peak memory counts what the process had that started this one
            subprocess.run([sys.executable, __file__, "--work", str(work), "--part", part, *options], check=True)


if __name__ == "__main__":
    main()
