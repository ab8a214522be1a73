"""Parity: the same network in half and single precision, on the GPU and on the CPU; and whole predictions on both."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from prediction import network_of
from torch import Tensor

from gpu_sections.bench import Bench, Row
from gpu_sections.models import body, model_folder
from gpu_sections.predicting import agreement
from nnunetv2_cdpd.inference.predictor import Predictor


def parity(bench: Bench) -> Iterator[Row]:
    """How far logits are from those in single precision on the device, and how many voxels have the same label."""
    sizes = bench.sizes
    model = model_folder(bench, sizes.many, sizes.network_mm)
    predictor = Predictor.from_folder(model.folder, device=bench.device)
    network = network_of(predictor).eval().to(bench.device)
    x = model.windows.to(bench.device)
    expected = _logits(network, x, lambda: tensor_cores(False))
    ways: dict[str, Callable[[], AbstractContextManager]] = {
        "single precision again": lambda: tensor_cores(False),
        "TF32": lambda: tensor_cores(True),
        "float16 (autocast)": lambda: torch.autocast(bench.device, torch.float16),
        "bfloat16 (autocast)": lambda: torch.autocast(bench.device, torch.bfloat16),
    }
    for name, precision in ways.items():
        yield f"{name}, beside single precision", compared(_logits(network, x, precision), expected)
    on_cpu = _logits(network.cpu(), model.windows, contextlib.nullcontext)
    yield "the CPU, beside single precision", compared(on_cpu, expected)
    image = body((sizes.cube,) * 3)
    found = predictor.predict(image, [1.0] * 3).label_map
    by_cpu = Predictor.from_folder(model.folder, device="cpu").predict(image, [1.0] * 3).label_map
    yield f"whole prediction, {bench.device} beside CPU, {sizes.cube}^3 at 1 mm", agreement(found, by_cpu)


@contextlib.contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """Single precision with or without the device's short cut through TF32."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
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
    difference = found - expected
    row = {"relative error": f"{float(difference.norm() / expected.norm()):.1e}", "largest difference": f"{float(difference.abs().max()):.1e}"}
    return row | agreement(labels_of(found), labels_of(expected))


def labels_of(logits: Tensor):
    """(B, K, x, y, z) -> the most probable class plus one, 0 where none is above 0.5."""
    highest, place = logits.max(1)
    return torch.where(highest > 0, place + 1, 0).numpy()
