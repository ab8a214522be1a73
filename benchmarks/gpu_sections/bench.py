"""Bench: sizes, the time that is left, clocks and peaks; on a GPU, and on a CPU for a rehearsal."""

import contextlib
import gc
import io
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Row = tuple[str, dict[str, Any]]  # what was measured, and the numbers
GIB = 2**30


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    patch: Voxels per axis, like `cube`.
    features: Of each stage of the U-Net.
    vision: The ViT, by timm's name.
    classes, many, most: Numbers of classes.
    image: Voxels of the volume that is predicted, in the order of `spacing_mm`.
    network_mm: Spacing of the network.
    cube: Voxels per axis, of 1 mm, of what is predicted in several ways.
    processes: That load training data.
    warm_up, rounds: Of what is timed.
    loaded_steps: Training steps with the loader.
    """

    patch: int
    batch: int
    features: tuple[int, ...]
    vision: str
    classes: int
    many: int
    most: int
    image: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    network_mm: float
    cube: int
    processes: int
    warm_up: int
    rounds: int
    loaded_steps: int


VIT_B = "vit_base_patch14_dinov2.lvd142m"
FULL = Sizes(
    128, 2, (32, 64, 128, 256, 320, 320), VIT_B, 32, 104, 117, (600, 512, 512), (1.0, 0.8, 0.8), 1.5, 192, 12, 4, 9, 40
)  # fmt: skip
TINY = Sizes(32, 2, (8, 12, 16), "vit_tiny_patch16_224", 4, 6, 7, (60, 64, 52), (1.0, 0.8, 0.8), 1.5, 40, 2, 1, 2, 3)


@dataclass(frozen=True)
class Bench:
    """One run.

    device: "cuda" or "cpu".
    work: Folder for what is written meanwhile.
    end: Of the time, by time.monotonic().
    absent: Packages that are only stood in for.
    """

    sizes: Sizes
    device: str
    work: Path
    end: float
    absent: tuple[str, ...] = ()

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def left_s(self) -> float:
        return self.end - time.monotonic()

    def lacks(self, seconds: float) -> str:
        """Says so where less time is left than that, on a GPU; a rehearsal goes on while there is any."""
        left = self.left_s
        return f"{max(left, 0):.0f} s left of {seconds:g} wanted" if left < (seconds if self.on_gpu else 0) else ""

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back memory that nothing holds."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def repeated(self, function: Callable[[], object]) -> dict[str, float]:
        """Milliseconds of one call after warm-up, by the events of the device or a CPU's clock: median, fastest, slowest."""
        for _ in range(self.sizes.warm_up):
            function()
        times = [self._once_ms(function) for _ in range(self.sizes.rounds)]
        return {"ms": round(statistics.median(times), 3), "fastest": round(min(times), 3), "slowest": round(max(times), 3)}

    def _once_ms(self, function: Callable[[], object]) -> float:
        if not self.on_gpu:
            start = time.perf_counter()
            function()
            return 1e3 * (time.perf_counter() - start)
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        function()
        last.record()
        last.synchronize()
        return first.elapsed_time(last)

    def seconds(self, function: Callable[[], T]) -> tuple[float, T]:
        """Wall time of one call with all that it left for the device to do, and its result."""
        self.synchronize()
        start = time.perf_counter()
        result = function()
        self.synchronize()
        return round(time.perf_counter() - start, 3), result

    @contextlib.contextmanager
    def peaks(self) -> Iterator[dict[str, float]]:
        """GiB at the peak of what is done in it, known afterwards: what torch has of the device, and the process of the host."""
        found: dict[str, float] = {}
        self.free()
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        anew, before = _host_peak_anew(), _host_kib("VmRSS")
        yield found
        if self.on_gpu:
            found["device GiB"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
            found["device GiB reserved"] = round(torch.cuda.max_memory_reserved() / GIB, 2)
        if anew:
            found["host GiB"] = round(_host_kib("VmHWM") / 2**20, 2)
            found["host GiB before"] = round(before / 2**20, 2)
        else:
            found["host GiB since the start"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _host_peak_anew() -> bool:
    """Let the peak of the host's memory begin here; False where Linux has no way to."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _host_kib(field: str) -> int:
    from network import memory_kib  # here, because it brings the networks with it

    return memory_kib(field)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what nnU-Net prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
