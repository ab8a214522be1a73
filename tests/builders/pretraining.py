"""A tiny pretraining that takes a second: CTs of random bodies, a tiny ViT, small crops."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_cdpd.pretraining import pretrain
from nnunetv2_cdpd.pretraining.settings import PretrainingSettings
from nnunetv2_cdpd.pretraining.steps import Steps

ENCODER = "vit_tiny_patch16_224"
TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}
SETTINGS = PretrainingSettings(
    encoder=ENCODER,
    model_kwargs=TINY,
    iterations=6,
    batch_size=4,
    lr=1e-3,
    slices_per_image=5,
    global_patches=4,
    local_patches=2,
    local_views=2,
    head_width=32,
    prototypes=16,
)


class Stopped(Exception):
    """A run ends here as if it had been killed."""


def write_ct(path: Path, seed: int, shape=(9, 20, 24), spacing=(0.9, 1.1, 3.0)) -> None:
    """A CT (z, y, x) of air around a body of random HU; the first and the last two slices are air."""
    rng = np.random.default_rng(seed)
    array = np.full(shape, -1000, np.int16)
    array[2:-2, 3:-3, 4:-4] = rng.normal(40, 120, (shape[0] - 4, shape[1] - 6, shape[2] - 8))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def write_cts(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for seed in range(count):
        write_ct(folder / f"scan_{seed}.nii.gz", seed)
    return folder


def tiny_pretraining(output: Path, images: Path, report=lambda line: None, **options) -> dict[str, str]:
    """`pretrain` from nothing, on the CPU, in this process."""
    given = {"from_nothing": True, "settings": SETTINGS, "device": "cpu", "num_processes": 1, "progress": False, **options}
    return pretrain(output, folders=[images], report=report, **given)


def one_of_two(rank: int, output: Path, images: Path, port: int, stop_at: int | None) -> None:
    """One of two processes, as torchrun starts them; here because a spawned process imports what it runs by name.

    Args:
        stop_at: Both end before this iteration, having saved the one before; None: at the end.
    """
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    step = Steps.step

    def stopping(self, iteration, slices):
        if iteration == stop_at:
            raise Stopped
        return step(self, iteration, slices)

    Steps.step = stopping
    lines: list[str] = []
    with suppress(Stopped):
        tiny_pretraining(output, images, report=lines.append, resume=True, save_seconds=0)
    output.with_suffix(f".{rank}.txt").write_text("\n".join(lines))
