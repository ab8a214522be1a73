"""Parts that are measured alone: the loss, the planner's estimate, resampling on the device."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import planner_memory
import torch
from loss import partial_annotation
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor

from gpu_sections.bench import Bench, Row, quiet
from gpu_sections.body import body
from nnunetv2_cdpd.training.loss import PartialLabelLoss
from nnunetv2_cdpd.volumes.interpolation import along_axis, resample_by_axis
from nnunetv2_cdpd.volumes.splines import spline_matrix


def loss(bench: Bench) -> Iterator[Row]:
    """Forward and backward of the loss from float16 logits at full resolution; memory with logits and target in it."""
    sizes = bench.sizes
    for classes in (sizes.classes, sizes.many):
        annotation = partial_annotation(classes)
        shape = (sizes.batch, classes, *[sizes.patch] * 3)
        values = torch.randint(classes + 1, (shape[0], 1, *shape[2:]), dtype=torch.int16, device=bench.device)
        logits = torch.randn(shape, dtype=torch.float16, device=bench.device, requires_grad=True)
        sources = torch.arange(sizes.batch, device=bench.device) % len(annotation.sources)
        ours = PartialLabelLoss(annotation).to(bench.device)
        yield f"PartialLabelLoss, {classes} classes", _loss_row(bench, lambda: ours(logits, [values, sources]), logits)  # noqa: B023
        host = DC_and_BCE_loss(
            {}, {"batch_dice": False, "do_bg": True, "smooth": 1e-5, "ddp": False}, dice_class=MemoryEfficientSoftDiceLoss
        )
        regions = torch.cat([values == value for value in range(1, classes + 1)], 1)
        yield f"DC_and_BCE_loss, {classes} classes", _loss_row(bench, lambda: host(logits, regions.float()), logits)  # noqa: B023


def _loss_row(bench: Bench, function: Callable[[], Tensor], logits: Tensor) -> dict[str, Any]:
    def step() -> None:
        logits.grad = None
        with torch.autocast(bench.device, enabled=bench.on_gpu):
            value = function()
        value.backward()

    with bench.peaks() as peaks:
        times = bench.repeated(step)
    logits.grad = None
    return times | peaks


def planner(bench: Bench) -> Iterator[Row]:
    """The planner's estimate of the memory of a training step, and its peak; GB as nnU-Net's planner has them, 10^9 bytes."""
    from nnunetv2_cdpd.link import find_class

    planner_memory.imagined_dataset(bench.work, bench.sizes.classes, bench.sizes.vision)
    for name in ("nnUNetPlannerCDPD", "nnUNetPlannerCDPDM"):
        with quiet():
            made = find_class(name)(999)
            configuration = made.plan_experiment()["configurations"]["3d_fullres"]
        estimate = planner_memory.estimate_gb(configuration, made)
        row = {"patch": configuration["patch_size"], "batch": configuration["batch_size"], "estimate GB": round(estimate, 2)}
        if bench.on_gpu:
            allocated, reserved = planner_memory.peak_gb(configuration, made, False)
            row |= {"GB": round(allocated, 2), "GB reserved": round(reserved, 2), "ratio": round(allocated / estimate, 2)}
        yield name, row
        bench.free()


def resampling(bench: Bench) -> Iterator[Row]:
    """A CT to the spacing of the network, one matrix per axis: on the CPU, and on the device with the image there."""
    sizes = bench.sizes
    image = body(sizes.image, bench.device).astype(np.float32)
    target = [sizes.network_mm] * 3
    new_shape = [int(n) for n in compute_new_shape(sizes.image, sizes.spacing_mm, target)]
    arguments = (image[None], new_shape, sizes.spacing_mm, target)
    seconds, expected = bench.seconds(lambda: resample_by_axis(*arguments))
    name = f"{' x '.join(map(str, sizes.image))} to {' x '.join(map(str, new_shape))}"
    yield f"resample_by_axis on the CPU, {name}", {"ms": round(1e3 * seconds, 1), "threads": torch.get_num_threads()}
    there = torch.from_numpy(image).to(bench.device)
    with bench.peaks() as peaks:
        times = bench.repeated(lambda: by_axes(there, new_shape))
    difference = np.abs(by_axes(there, new_shape).cpu().numpy() - expected[0]).max() / np.ptp(image)
    yield f"along_axis on {bench.device}, {name}", times | peaks | {"difference": f"{difference:.0e}"}
    row: dict[str, Any]
    try:
        row = bench.repeated(lambda: resample_by_axis(there[None], *arguments[1:]))
    except TypeError as error:
        row = {"refused": str(error)[:120]}
    yield f"resample_by_axis on {bench.device}, {name}", row


def by_axes(image: Tensor, new_shape: list[int]) -> Tensor:
    """Cubic resampling of (x, y, z), the axis that shrinks most first, clipped to the range of the image."""
    lowest, highest = image.aminmax()
    for axis in sorted(range(3), key=lambda axis: new_shape[axis] / image.shape[axis]):
        if new_shape[axis] != image.shape[axis]:
            image = along_axis(image, axis, spline_matrix(image.shape[axis], new_shape[axis], 3))
    return image.clamp(lowest, highest)
