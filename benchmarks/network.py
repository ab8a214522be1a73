"""Cost of CDPDNet beside nnU-Net's own networks: forward, training step, peak memory and GFLOP for one patch.

A training step is all that a trainer does with a batch that is there: forward, loss, backward, clipping, optimizer; nnU-Net's
networks with its loss of regions and SGD, ours with ours and AdamW, all on every class annotated, with deep supervision.

    python benchmarks/network.py [--size 96] [--classes 32] [--rounds 5] [-device cuda] [--compile] [--peak-tflops T]
    python benchmarks/evidence write     # the table, from benchmarks/results/network

Every round measures every network once, in turn, and a ratio is the median over rounds of ratios within a round: other jobs on
the machine then disturb it little. On a CPU the process's CPU time is taken along with the wall time, in single precision;
on a GPU nnU-Net's mixed precision. Peak memory is that of a training step in a process of its own,
weights included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parent / "evidence"))
from figures import Figures

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.network.cdpdnet import CDPDNet, default_slice_step
from nnunetv2_cdpd.pretrained.choices import LEARNED
from nnunetv2_cdpd.released.preset import KW_REQUIRES_IMPORT, PAPER_NETWORK_CLASS_NAME, paper_arch_kwargs
from nnunetv2_cdpd.training.loss import PartialLabelLoss
from nnunetv2_cdpd.training.optimizer import adamw

REFERENCE = "PlainConvUNet"
ADDED = ("unet_class_name", "fused_stages", "vision", "patch_size", "text", "task")
BLOCKS_RESENC = [1, 3, 4, 6, 6, 6]  # nnU-Net's ResEnc planners


class WithTokens(nn.Module):
    """The network after its slice encoder: the tokens are made once, outside of what is measured."""

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.tokens = [grid.clone() for grid in network.token_grids(x)]
        network.slice_encoder = None
        network.token_grids = lambda x: self.tokens
        self.network = network

    def forward(self, x: Tensor, *args: Any) -> Any:
        return self.network(x, *args)


class SliceEncoderOnly(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.encoder = network.slice_encoder

    def forward(self, x: Tensor) -> Any:
        return self.encoder(x)


def build(name: str, size: int, classes: int, x: Tensor) -> tuple[nn.Module, tuple]:
    """A network by its name in the table, and its arguments after the patch."""
    kwargs = paper_arch_kwargs()
    kwargs["patch_size"] = [size] * 3
    kwargs["text"]["class_prompts"] = [f"class {k}" for k in range(classes)]
    unet = {key: value for key, value in kwargs.items() if key not in ADDED}
    task = torch.zeros(1, dtype=torch.long, device=x.device)

    def make(class_name: str, arch_kwargs: dict) -> nn.Module:
        return get_network_from_plans(class_name, arch_kwargs, KW_REQUIRES_IMPORT, 1, classes, deep_supervision=True).to(x.device)

    if name == REFERENCE:
        return make(kwargs["unet_class_name"], unet), ()
    if name == "ResidualEncoderUNet (M)":
        residual = {key: value for key, value in unet.items() if key != "n_conv_per_stage"}
        residual |= {"n_blocks_per_stage": BLOCKS_RESENC, "n_conv_per_stage_decoder": [1] * 5}
        return make("dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", residual), ()
    if name.startswith("paper"):
        network = make(PAPER_NETWORK_CLASS_NAME, kwargs)
    else:
        default = deepcopy(kwargs)
        default["text"]["encoder"] = LEARNED
        default["task"] = {"prompts": [*kwargs["task"]["prompts"], "all"], "universal": True}
        default["vision"]["slice_step"] = default_slice_step(unet["strides"], kwargs["fused_stages"], 0)
        network = make("nnunetv2_cdpd.network.CDPDNet", default)
    if name.endswith("slice encoder"):
        return SliceEncoderOnly(network), ()
    return (WithTokens(network, x) if name.endswith("given tokens") else network), (task,)


NETWORKS = (
    REFERENCE,
    "ResidualEncoderUNet (M)",
    "paper preset, given tokens",
    "paper preset, slice encoder",
    "default preset",
    "default preset, slice encoder",
)


def make_loss(network: nn.Module, classes: int, weights: Sequence[float]) -> Callable[[Sequence[Tensor], list[Tensor]], Tensor]:
    """Loss of a network's trainer, of outputs and label maps (B, 1, X, Y, Z), finest first."""
    values = range(1, classes + 1)
    if isinstance(network, WithTokens | CDPDNet):
        names = tuple(f"class {k}" for k in values)
        annotation = Annotation(names, tuple(values), tuple((k,) for k in values), (Source("all", names),))
        ours = PartialLabelLoss(annotation, weights=weights)
        return lambda outputs, maps: ours.to(maps[0].device)(outputs, [*maps, maps[0].new_zeros(1, dtype=torch.long)])
    dice = {"batch_dice": False, "do_bg": True, "smooth": 1e-5, "ddp": False}
    host = DeepSupervisionWrapper(DC_and_BCE_loss({}, dice, dice_class=MemoryEfficientSoftDiceLoss), weights)
    return lambda outputs, maps: host(outputs, [torch.cat([part == k for k in values], 1) for part in maps])


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if isinstance(network, WithTokens | CDPDNet):
        return adamw(trained, 4e-4, 1e-5)
    return torch.optim.SGD(trained, 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)


def measure(function: Callable[[], Any], device: str) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def forward_and_step(
    network: nn.Module, x: Tensor, rest: tuple, classes: int, compiled: bool = False
) -> tuple[Callable, Callable | None]:
    """What is measured: a forward pass without gradients, and a training step (None: nothing to train)."""
    device = x.device.type
    autocast = (lambda: torch.autocast("cuda")) if device == "cuda" else nullcontext
    run = torch.compile(network) if compiled else network

    def forward() -> None:
        with torch.no_grad(), autocast():
            run(x, *rest)

    if isinstance(network, SliceEncoderOnly):
        return forward, None
    with torch.no_grad(), autocast():
        sizes = [output.shape[2:] for output in network(x, *rest)]
    maps = [torch.randint(classes + 1, (1, 1, *size), device=device, dtype=torch.int16) for size in sizes]
    weights = [0.5**i for i in range(len(maps) - 1)] + [0.0]
    loss, optimizer = make_loss(network, classes, [weight / sum(weights) for weight in weights]), make_optimizer(network)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            value = loss(run(x, *rest), maps)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()

    return forward, step


def peak_memory_gib(name: str, args: argparse.Namespace) -> float:
    """Peak memory of one training step (of one forward pass for what is not trained), weights included."""
    command = [sys.executable, __file__, "--only", name, "--size", str(args.size), "--classes", str(args.classes)]
    command += ["-device", args.device]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def print_peak_memory(name: str, args: argparse.Namespace) -> None:
    start = memory_kib("VmRSS")
    x = torch.randn(1, 1, *[args.size] * 3, device=args.device)
    network, rest = build(name, args.size, args.classes, x)
    forward, step = forward_and_step(network, x, rest, args.classes)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    (step or forward)()
    on_cpu = (memory_kib("VmHWM") - start) / 2**20
    print(json.dumps(torch.cuda.max_memory_allocated() / 2**30 if args.device == "cuda" else on_cpu))


def memory_kib(field: str) -> int:
    """Of this process, as Linux tells it: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}; memory is measured on Linux only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="voxels per axis of the patch")
    parser.add_argument("--classes", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true", help="torch.compile, as nnU-Net on a GPU")
    parser.add_argument("--peak-tflops", type=float, help="of the machine in the precision used, for the share of it")
    parser.add_argument("--only", choices=NETWORKS, help=argparse.SUPPRESS)  # the process that measures memory
    args = parser.parse_args()
    if args.only:
        print_peak_memory(args.only, args)
        return

    torch.manual_seed(0)
    x = torch.randn(1, 1, *[args.size] * 3, device=args.device)
    timed, gflop, memory = {}, {}, {}
    for name in dict.fromkeys([REFERENCE, *args.networks]):
        network, rest = build(name, args.size, args.classes, x)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x, *rest)
        gflop[name] = counter.get_total_flops() / 1e9
        memory[name] = peak_memory_gib(name, args)
        timed[name] = forward_and_step(network, x, rest, args.classes, args.compile)
        for function in timed[name]:
            if function:
                function()  # warm up

    rounds = [
        {name: [measure(f, args.device) if f else None for f in pair] for name, pair in timed.items()} for _ in range(args.rounds)
    ]
    write_table(rounds, gflop, memory, args)


def write_table(rounds: list[dict], gflop: dict[str, float], memory: dict[str, float], args: argparse.Namespace) -> None:
    clock = 0 if args.device == "cuda" else 1
    words = "GPU" if args.device == "cuda" else "CPU"
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    kinds = [] if args.classes == 32 else [f"{args.classes}_classes"]
    kinds += [word for word, given in (("gpu", args.device == "cuda"), ("compiled", args.compile)) if given]
    figures = Figures(
        __file__,
        "_".join([str(args.size), *kinds]),
        [("network", ""), (f"forward, {words} s", ".2f"), ("ratio", ".2f"), (f"training step, {words} s", ".2f")]
        + [("ratio", ".2f"), ("GFLOP forward", ".0f"), ("peak GiB", ".2f")]
        + [("share of the peak", ".0%")] * bool(args.peak_tflops),
        size=args.size, classes=args.classes, rounds=args.rounds, device=device, bfloat16_units=bfloat16, compiled=args.compile,
    )  # fmt: skip
    for name in rounds[0]:
        cells: list[float | None] = []
        for index in (0, 1):
            if rounds[0][name][index] is None:
                cells += [None, None]
                continue
            times = [part[name][index][clock] for part in rounds]
            ratios = [part[name][index][clock] / part[REFERENCE][index][clock] for part in rounds]
            cells += [statistics.median(times), statistics.median(ratios)]
        cells += [gflop[name], memory[name]]
        if args.peak_tflops:
            seconds = statistics.median(part[name][0][0] for part in rounds)
            cells.append(gflop[name] / 1e3 / seconds / args.peak_tflops)
        figures.add(name, *cells)
    figures.write()


if __name__ == "__main__":
    main()
