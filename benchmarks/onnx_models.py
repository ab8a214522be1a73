"""Exported models: how far their label maps are from `cdpd predict`'s, CPU seconds of both, size of the file.

    python benchmarks/onnx_models.py [-m MODEL -i IMAGE ...] [--threads 1] [--sizes tiny usual]
    python benchmarks/evidence write     # the table, from benchmarks/results/onnx_models

Without a model: a tiny one that is trained here for some seconds, on images like those that it was trained on; the same with
random weights; and one of usual size (--patch, --classes, --vision) with random weights on noise.

    predict   `Predictor`, as `cdpd predict` runs it; in bfloat16 where the machine has it
    single    the same in single precision throughout, as exported models are
    runner    onnxruntime, without torch
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parent / "evidence"))
from builders.portable import labelled_case, train_model, write_case, write_variant
from figures import Figures
from prediction import make_model

from nnunetv2_cdpd.inference.onnx_export import export_onnx
from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.portable.images import read_image
from nnunetv2_cdpd.portable.runner import OnnxModel

SIZES = TINY, USUAL = "tiny", "usual"
COLUMNS = [("model", ""), ("file MiB", ".1f"), ("export CPU s", ".1f"), ("voxels", "d"), ("predict CPU s", ".1f")]
COLUMNS += [("single CPU s", ".1f"), ("runner CPU s", ".1f"), ("single differs", ".1e"), ("predict differs", ".1e")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", dest="model", type=Path, help="a trained model")
    parser.add_argument("-i", dest="images", type=Path, nargs="+", help="images for it, one file each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300, help="of the tiny model's training")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 80, 80], help="of the model of usual size")
    parser.add_argument("--shape", type=int, nargs=3, default=[80, 96, 96], help="of its image")
    parser.add_argument("--classes", type=int, default=24, help="of that model")
    parser.add_argument("--vision", default="vit_base_patch14_dinov2.lvd142m", help="of that model, by timm's name")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="of the models (default: both)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if args.model:
            compare("trained", args.model, args.images, work, args.threads)
            return
        if TINY in args.sizes:
            trained = train_model(work / "trained", args.steps)
            images = tiny_images(work)
            compare("tiny, trained", trained, images, work, args.threads)
            compare("tiny, random", write_variant(work / "random", "plain"), images, work, args.threads)
        if USUAL in args.sizes:
            usual = make_model(work / "usual", args.patch, args.classes, args.vision)
            noise = np.random.default_rng(0).normal(30, 90, args.shape).astype(np.float32)
            write_case(work / "noise.nii.gz", noise, (1.5, 1.5, 1.5))
            compare("usual size, random", usual, [work / "noise.nii.gz"], work, args.threads)


def tiny_images(work: Path) -> list[Path]:
    """Of cases that the tiny model was not trained on, on its own grid."""
    files = []
    for seed in range(100, 103):
        files.append(work / f"{seed}.nii.gz")
        write_case(files[-1], labelled_case(seed, (24, 40, 48))[0].transpose(1, 2, 0), (1.4, 1.1, 2.5))
    return files


def compare(name: str, model: Path, images: Sequence[Path], work: Path, threads: int) -> None:
    start = time.process_time()
    exported = work / f"{name}.onnx"
    export_onnx(model, exported)
    seconds = {"export": time.process_time() - start}
    predictor, runner = Predictor.from_folder(model, device="cpu"), OnnxModel(exported, threads)
    start = time.process_time()
    found = [runner.predict(read_image([file], runner.description.channels, runner.description.reorient)) for file in images]
    seconds["runner"], start = time.process_time() - start, time.process_time()
    usual = [np.asarray(predictor.predict(file)) for file in images]
    seconds["predict"] = time.process_time() - start
    encoder = predictor.network.network.slice_encoder
    if encoder is not None:
        encoder.bfloat16_on_cpu = False
        predictor.network.forget()
    start = time.process_time()
    single = [np.asarray(predictor.predict(file)) for file in images]
    seconds["single"] = time.process_time() - start
    voxels = sum(labels.size for labels in found)
    differ = [sum(int((a != b).sum()) for a, b in zip(found, other)) / voxels for other in (single, usual)]
    figures = Figures(__file__, re.sub(r"\W+", "_", name), COLUMNS, threads=threads)
    taken = [seconds[what] for what in ("predict", "single", "runner")]
    figures.add(name, exported.stat().st_size / 2**20, seconds["export"], voxels, *taken, *differ)
    figures.write()


if __name__ == "__main__":
    main()
