"""The machine: its card and driver, what is installed, and what the card does at its best."""

import platform
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from importlib import metadata

import torch

from gpu_sections.bench import Bench, Row

VERSIONS_OF = ("torch", "triton", "timm", "nnunetv2", "dynamic_network_architectures", "batchgeneratorsv2", "numpy")


def machine(bench: Bench) -> Iterator[Row]:
    versions = {name: _version(name) for name in VERSIONS_OF}
    yield "software", {"is": {"Python": platform.python_version(), **versions}}
    yield "stood in for", {"is": ", ".join(bench.absent) or "nothing"}
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
        yield "nvidia-smi", {"is": subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()}
    if bench.on_gpu:
        facts = torch.cuda.get_device_properties(0)
        yield "card", {"is": f"{facts.name}, {facts.total_memory / 2**30:.1f} GiB, {facts.multi_processor_count} processors"}
    size = 8192 if bench.on_gpu else 64
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=bench.device) for _ in range(2))
    product = bench.repeated(lambda: a @ b)
    yield f"bfloat16 product, {size}^3", {"is": f"{2 * size**3 / product['ms'] / 1e9:.3g} TFLOP/s"}
    there = torch.zeros(2**30 if bench.on_gpu else 2**16, dtype=torch.uint8, device=bench.device)
    for name, pinned in (("copy to the host", False), ("copy to pinned memory", True)):
        host = torch.empty(there.shape, dtype=there.dtype, pin_memory=pinned and bench.on_gpu)
        copied = bench.repeated(partial(host.copy_, there))
        yield name, {"is": f"{there.numel() / copied['ms'] / 1e6:.3g} GB/s"}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
