"""What single changes of the training step gave, each beside what it replaced, in CPU time of one process.

    git worktree add FORMER 88686ab; python benchmarks/levers.py FORMER [--rounds 7]
    python benchmarks/evidence write     # the table, from benchmarks/results/levers

Cross-attention and loss are compared with those of FORMER, a checkout of another version, the frozen ViT with plain autocast,
AdamW with PyTorch's default. Old and new run in turn; a ratio is the median of ratios within a round.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from loss import partial_annotation
from torch import nn

sys.path.append(str(Path(__file__).parent / "evidence"))
from figures import Figures

from nnunetv2_cdpd.network import cross_attention
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.training import loss, masked_sums
from nnunetv2_cdpd.training.optimizer import adamw

VIT = "vit_base_patch14_dinov2.lvd142m"


def former_module(former: Path, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"former_{Path(path).stem}", former / "nnunetv2_cdpd" / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attention(module: ModuleType, channels: int, size: int, training: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    part = module.WindowedCrossAttention(channels, 3)
    x, y = (torch.randn(1, channels, size, size, size, requires_grad=training) for _ in range(2))

    def run() -> None:
        with torch.set_grad_enabled(training):
            out = part(x, y)
        if training:
            out.sum().backward()

    return run


def whole_loss(module: ModuleType, classes: int, size: int, memory_format: torch.memory_format) -> Callable[[], None]:
    annotation = partial_annotation(classes)
    logits = torch.randn(2, classes, size, size, size).to(memory_format=memory_format).requires_grad_()
    values = torch.randint(annotation.num_values - 1, (2, 1, size, size, size), dtype=torch.int16)
    part = loss.PartialLabelLoss(annotation)

    def run() -> None:
        loss.masked_sums = module.masked_sums
        logits.grad = None
        part(logits, [values, torch.arange(2)]).backward()

    return run


def vit(slices: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """By autocast, and with what it casts kept."""
    encoder = SliceEncoder(VIT, num_maps=3)
    encoder.bfloat16_on_cpu = False  # autocast is given here
    images = encoder.images(torch.randn(1, 1, slices, 96, 96))

    def run(kept: bool) -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            encoder.half_weights.call(encoder.vit, encoder.token_maps, images) if kept else encoder.token_maps(images)

    return lambda: run(False), lambda: run(True)


def optimizers(millions: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """PyTorch's default, and fused."""
    made = []
    for make in (lambda p: torch.optim.AdamW(p, 4e-4, weight_decay=1e-5), lambda p: adamw(p, 4e-4, 1e-5)):
        parameters = [nn.Parameter(torch.randn(64, 64, 3, 3, 3)) for _ in range(9 * millions)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        made.append(make(parameters).step)
    return made[0], made[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("former", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    old_attention = former_module(args.former, "network/cross_attention.py")
    old_loss = former_module(args.former, "training/masked_sums.py")
    columns = [("part", ""), ("before, CPU ms", ".1f"), ("now", ".1f"), ("ratio", ".2f")]
    figures = Figures(__file__, "all", columns, rounds=args.rounds, threads=torch.get_num_threads())

    def row(name: str, before: Callable[[], object], now: Callable[[], object]) -> None:
        times = []
        for _ in range(args.rounds + 1):
            marks = [time.process_time()]
            for function in (before, now):
                function()
                marks.append(time.process_time())
            times.append((marks[1] - marks[0], marks[2] - marks[1]))
        times = times[1:]  # the first one warms up
        middle = [1e3 * statistics.median(part) for part in zip(*times)]
        figures.add(name, *middle, statistics.median(b / a for a, b in times))

    for channels, size in ((64, 48), (128, 24), (256, 12)):
        for training in (False, True):
            pair = [attention(module, channels, size, training) for module in (old_attention, cross_attention)]
            row(f"cross-attention, {channels} x {size}^3, {'training' if training else 'prediction'}", *pair)
    for classes, size in ((32, 64), (104, 48)):
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            pair = [whole_loss(module, classes, size, layout) for module in (old_loss, masked_sums)]
            row(f"loss, 2 x {classes} x {size}^3, {str(layout).removeprefix('torch.')}", *pair)
    for slices in (1, 4, 24, 48):
        row(f"ViT-B in bfloat16, {slices} slices of 96^2", *vit(slices))
    for millions in (3, 30):
        row(f"AdamW, {millions} million weights", *optimizers(millions))
    figures.write()


if __name__ == "__main__":
    main()
