"""Parity: the same network in half and single precision, on the GPU and on the CPU, and beside nnUNetPredictor on the GPU."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from prediction import network_of, stock_predictor
from torch import Tensor

from gpu_sections.bench import Bench, Row
from gpu_sections.body import body
from gpu_sections.models import model_folder
from nnunetv2_cdpd.inference.predictor import Predictor


def parity(bench: Bench) -> Iterator[Row]:
    """How far logits are from those in single precision on the device, and how many voxels have the same label."""
    sizes = bench.sizes
    model = model_folder(bench, sizes.many, sizes.network_mm)
    predictor = Predictor.from_folder(model.folder, device=bench.device)
    yield from precisions(bench, network_of(predictor).eval(), model.windows)
    image = body((sizes.patch, sizes.patch, sizes.patch * 3 // 2))
    mm = predictor.configuration_manager.spacing  # so that nothing is resampled
    found = predictor.predict(image, mm, probabilities=True).probabilities
    host = stock_predictor(predictor, network_of(predictor), bench.device)
    logits = host.predict_logits_from_preprocessed_data(predictor.preprocess_array(image, mm).data)
    expected = logits.float().sigmoid()
    yield f"nnUNetPredictor beside ours, {grid_of(image)}", agreement(labels_of(torch.from_numpy(found)), labels_of(expected))
    del found, expected, logits, host
    image = body((sizes.cube, sizes.cube, sizes.cube * 3 // 2))
    labels = predictor.predict(image, [1.0] * 3).label_map
    by_cpu = Predictor.from_folder(model.folder, device="cpu").predict(image, [1.0] * 3).label_map
    yield f"label map, {bench.device} beside CPU, {grid_of(image)}", agreement(labels, by_cpu)


def grid_of(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape))


def precisions(bench: Bench, network: torch.nn.Module, windows: Tensor) -> Iterator[Row]:
    """Of windows (B, 1, x, y, z) by themselves."""
    network.to(bench.device)
    x = windows.to(bench.device)
    expected = _logits(network, x, lambda: tf32(False))
    ways: dict[str, Callable[[], AbstractContextManager]] = {
        "single precision again": lambda: tf32(False),
        "TF32": lambda: tf32(True),
        "float16": lambda: torch.autocast(bench.device, torch.float16),
        "bfloat16": lambda: torch.autocast(bench.device, torch.bfloat16),
    }
    for name, precision in ways.items():
        yield f"{name} beside single precision", compared(_logits(network, x, precision), expected)
    on_cpu = _logits(network.cpu(), windows[:1], contextlib.nullcontext)
    yield "CPU beside single precision", compared(on_cpu, expected[:1])


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Single precision on the device, with or without its short cut."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before):
            backend.allow_tf32 = value


@torch.inference_mode()
def _logits(network: torch.nn.Module, x: Tensor, precision: Callable[[], AbstractContextManager]) -> Tensor:
    with precision():
        return torch.cat([network(window[None]).float().cpu() for window in x])


def compared(found: Tensor, expected: Tensor) -> dict[str, str]:
    """Logits (B, K, x, y, z)."""
    difference = found - expected
    row = {"relative error": f"{float(difference.norm() / expected.norm()):.1e}"}
    row["largest difference"] = f"{float(difference.abs().max()):.1e}"
    return row | agreement(*(np.stack([labels_of(window.sigmoid()) for window in logits]) for logits in (found, expected)))


def labels_of(probabilities: Tensor) -> np.ndarray:
    """(K, x, y, z) -> the most probable class plus one, 0 where none is above 0.5."""
    highest, place = probabilities.max(0)
    return torch.where(highest > 0.5, place + 1, 0).numpy()


def agreement(found: np.ndarray, expected: np.ndarray) -> dict[str, str]:
    """Voxels with the same label, of all and of those that either calls something."""
    same, either = found == expected, (found > 0) | (expected > 0)
    return {"equal": f"{same.mean():.4%}", "equal of labelled": f"{same[either].mean() if either.any() else 1.0:.4%}"}
