"""Memory and time of PartialLabelLoss, beside nnU-Net's own loss for regions.

    python benchmarks/loss.py [-device cuda] [-size 128] [-classes 32] [-batch 2] [--batch_dice]
    python benchmarks/evidence write     # the table, from benchmarks/results/loss

Peak memory counts everything from the logits on: logits, label map, what forward and backward allocate, and the gradient of
the logits; given in sizes of the logits. On a GPU it is torch.cuda.max_memory_allocated; on a CPU it is the sum of torch's
own allocations and releases, read from torch.profiler (profile_memory), so the process and its libraries do not count.
nnU-Net's loss gets its one-hot target as its loader makes it (bool). Requirement: at most 4 sizes of the logits in float16, no
single allocation beyond the size of the logits.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nnunetv2_cdpd.annotation import Annotation, MergedLabel, Source
from nnunetv2_cdpd.training.loss import PartialLabelLoss

MOST_SIZES = 4.0  # of the logits, forward and backward together


def partial_annotation(num_classes: int) -> Annotation:
    """Three sources: all classes; the first half; the rest, whose first two only merged."""
    names = tuple(f"class_{k}" for k in range(num_classes))
    values = tuple(range(1, num_classes + 1))
    half = num_classes // 2
    return Annotation(
        names,
        values,
        tuple((value,) for value in values),
        (Source("all", names), Source("first", names[:half]), Source("rest", names[half + 2 :], ("either",))),
        merged_labels=(MergedLabel("either", num_classes + 1, names[half : half + 2]),),
    )


def peak(function: Callable[[], Tensor], logits: Tensor) -> tuple[int, int]:
    """Bytes at the peak of forward and backward without the tensors that exist before, and of the largest allocation."""
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.cuda.device(logits.device):
            torch.cuda.memory._record_memory_history(max_entries=100_000)
            function().backward()
            torch.cuda.synchronize()
            events = torch.cuda.memory._snapshot()["device_traces"][logits.device.index or 0]
            torch.cuda.memory._record_memory_history(enabled=None)
        sizes = [event["size"] for event in events if event["action"] == "alloc"]
        return torch.cuda.max_memory_allocated() - before, max(sizes)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function().backward()
    now = highest = largest = 0
    events = profiler.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    for _, change in sorted(changes, key=lambda change: change[0]):
        now += change
        highest, largest = max(highest, now), max(largest, change)
    return highest, largest


def seconds(function: Callable[[], Tensor], logits: Tensor, repeats: int = 3) -> float:
    """Of one forward and backward, the fastest of some: CPU time, which other jobs disturb little, or on a GPU wall time."""
    clock, times = time.perf_counter if logits.is_cuda else time.process_time, []
    for _ in range(repeats):
        logits.grad = None
        start = clock()
        function().backward()
        if logits.is_cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times)


def measure(function: Callable[[], Tensor], logits: Tensor, held: int) -> tuple[float, float, float]:
    """Peak and largest allocation in sizes of the logits, and seconds; held: bytes of logits and target."""
    size = logits.numel() * logits.element_size()
    added, largest = peak(function, logits)
    return (added + held) / size, largest / size, seconds(function, logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("-size", type=int, default=128, help="voxels per axis of the patch")
    parser.add_argument("-classes", type=int, default=32)
    parser.add_argument("-batch", type=int, default=2)
    parser.add_argument("--batch_dice", action="store_true")
    arguments = parser.parse_args()
    sys.path.append(str(Path(__file__).parent / "evidence"))
    from figures import Figures  # here: other benchmarks import this one

    annotation = partial_annotation(arguments.classes)
    torch.manual_seed(0)
    shape = (arguments.batch, arguments.classes, *[arguments.size] * 3)
    logits = torch.randn(shape, dtype=torch.float16, device=arguments.device, requires_grad=True)
    values = torch.randint(annotation.num_values - 1, (shape[0], 1, *shape[2:]), dtype=torch.int16, device=arguments.device)
    sources = torch.arange(arguments.batch, device=arguments.device) % len(annotation.sources)
    size = logits.numel() * logits.element_size()
    clock = "CPU s" if arguments.device == "cpu" else "s"
    options = [word for word, given in (("gpu", logits.is_cuda), ("batch_dice", arguments.batch_dice)) if given]
    figures = Figures(
        __file__,
        "_".join([f"{arguments.batch}x{arguments.classes}x{arguments.size}", *options]),
        [("logits", ""), ("loss", ""), ("peak, in sizes of the float16 logits", ".2f"), ("largest single allocation", ".2f")]
        + [(clock, ".2f")],
        device=arguments.device, batch_dice=arguments.batch_dice,
    )  # fmt: skip
    told = f"({arguments.batch}, {arguments.classes}, {arguments.size}^3)"
    ours = PartialLabelLoss(annotation, batch_dice=arguments.batch_dice).to(arguments.device)
    held = size + values.numel() * values.element_size()
    total, largest, taken = measure(lambda: ours(logits, [values, sources]), logits, held)
    figures.add(told, "PartialLabelLoss", total, largest, taken)

    host = DC_and_BCE_loss(
        {},
        {"batch_dice": arguments.batch_dice, "do_bg": True, "smooth": 1e-5, "ddp": False},
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    one_hot = torch.cat([values == value for value in annotation.values], 1)
    host_function = lambda: host(logits.float(), one_hot.float())
    figures.add(told, "nnU-Net's region loss", *measure(host_function, logits, size + one_hot.numel()))
    figures.write()
    if total > MOST_SIZES or largest > 1:
        raise SystemExit(f"missed: at most {MOST_SIZES:g} sizes of the logits, no allocation beyond one")


if __name__ == "__main__":
    main()
