"""Training: the step of nnUNetTrainerCDPD beside that of the U-Net alone and of stock nnU-Net, eager and compiled.

Every number is that of the trainer's own `train_step`, from a batch in pinned memory to the loss as a number: mixed precision,
gradient scaling and clipping, optimizer, the partial-label loss. "Alone" is the same trainer without CDPDNet's parts, so that
a ratio tells of these parts and of nothing else.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from loader import make_annotation
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor

from gpu_sections.bench import Bench, Row, quiet
from gpu_sections.models import CONFIGURATION, PLAIN, RESENC, make_plans
from nnunetv2_cdpd.annotation import dataset_json_entries, with_sigmoid_heads
from nnunetv2_cdpd.jobs import write_json
from nnunetv2_cdpd.trainers.nnUNetTrainerCDPD import nnUNetTrainerCDPD

COMPILE_S = 60  # guessed, of one network, most of it compiling
ALONE, OURS, NO_VISION, STOCK = "U-Net alone", "CDPDNet", "CDPDNet without vision", "stock nnUNetTrainer"
_WITHOUT: dict[str, dict[str, Any]] = {  # what the network of a trainer lacks
    ALONE: {"vision_tokens": False, "modulate_by_text": False, "task_prompts": False},
    NO_VISION: {"vision_tokens": False},
    OURS: {},
}


class StepOnly:
    """A trainer that is started as nnU-Net starts it, but loads no data."""

    compiled = False

    def get_dataloaders(self) -> tuple[None, None]:
        return None, None

    def _do_i_compile(self) -> bool:
        return self.compiled


def trainer_class(bench: Bench, name: str) -> type:
    """nnU-Net's own, or ours with or without CDPDNet's parts; in a rehearsal with a small ViT."""
    if name == STOCK:
        return nnUNetTrainer
    settings = {"vision_encoder": bench.sizes.vision, **_WITHOUT[name]}
    return type(nnUNetTrainerCDPD.__name__, (nnUNetTrainerCDPD,), {"recipe": nnUNetTrainerCDPD.recipe.with_network(**settings)})


def start(bench: Bench, kind: type, classes: int, unet: str = PLAIN, dataset: str = "Dataset701_Steps") -> Any:
    """A trainer after `on_train_start`, in training mode.

    Args:
        dataset: Whose preprocessed cases are there, or none are.
    """
    plans = make_plans(bench.sizes, classes, unet) | {"dataset_name": dataset, "continue_training": False}
    cases = cases_folder(bench, dataset)
    if not any(cases.iterdir()):
        (cases / "none.b2nd").touch()  # nnU-Net looks which kind of files there are
    with quiet():
        trainer = kind(plans, CONFIGURATION, "all", dataset_json_of(classes), torch.device(bench.device))
        trainer.on_train_start()
    trainer.network.train()
    return trainer


def cases_folder(bench: Bench, dataset: str) -> Path:
    """Of the preprocessed cases of a dataset, beside which is what the start of a training copies."""
    folder = (
        bench.work
        / "nnUNet_preprocessed"
        / dataset
        / make_plans(bench.sizes, 1)["configurations"][CONFIGURATION]["data_identifier"]
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder.parent / "dataset_fingerprint.json", {})
    return folder


def dataset_json_of(classes: int) -> dict[str, Any]:
    entries = dataset_json_entries(make_annotation(classes))
    return with_sigmoid_heads({"channel_names": {"0": "CT"}, "numTraining": 4, "file_ending": ".nii.gz", **entries})


def random_batch(bench: Bench, trainer: Any, classes: int) -> dict[str, Any]:
    """As the trainer's loader makes one: label maps for ours, one channel per class for stock nnU-Net."""
    sizes, ours = bench.sizes, isinstance(trainer, nnUNetTrainerCDPD)
    count = sizes.batch
    shapes = [[round(sizes.patch * scale) for scale in scales] for scales in trainer._get_deep_supervision_scales()]
    labels = [torch.randint(classes + 1, (count, 1, *shape), dtype=torch.int16) for shape in shapes]
    if not ours:
        labels = [torch.cat([part == value for value in range(1, classes + 1)], 1) for part in labels]
    batch: dict[str, Any] = {"data": torch.randn(count, 1, *[sizes.patch] * 3), "target": labels}
    if ours:
        batch["target"].append(torch.arange(count) % 2)  # sources
        batch["task"] = torch.arange(count) % 2
    return {key: [_pinned(bench, part) for part in value] if isinstance(value, list) else _pinned(bench, value)
            for key, value in batch.items()}  # fmt: skip


def _pinned(bench: Bench, tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if bench.on_gpu else tensor


def train(bench: Bench) -> Iterator[Row]:
    """ms per step and its ratio to the U-Net alone, of the optimizer, and how often the host waits for the device."""
    few, many = bench.sizes.classes, bench.sizes.many
    cases = (
        (ALONE, PLAIN, few), (OURS, PLAIN, few), (ALONE, RESENC, few), (NO_VISION, PLAIN, few), (STOCK, PLAIN, few),
        (ALONE, PLAIN, many), (OURS, PLAIN, many),
    )  # fmt: skip
    alone_ms: dict[int, float] = {}
    for name, unet, classes in cases:
        row = step_row(bench, name, unet, classes)
        alone_ms.setdefault(classes, row["ms"])
        yield row_name(name, unet, classes), row | {"ratio": round(row["ms"] / alone_ms[classes], 2)}


def row_name(name: str, unet: str, classes: int) -> str:
    return f"{name}, {unet}, {classes} classes"


def step_row(bench: Bench, name: str, unet: str, classes: int) -> dict[str, Any]:
    trainer = start(bench, type("Steps", (StepOnly, trainer_class(bench, name)), {}), classes, unet)
    batch = random_batch(bench, trainer, classes)
    trainer.train_step(batch)  # tries kernels, which takes memory that no later step takes
    with bench.peaks() as peaks:
        times = bench.repeated(lambda: trainer.train_step(batch))
    places = synchronisations(bench, lambda: trainer.train_step(batch))
    optimizer = trainer.optimizer
    if not optimizer.state:
        raise RuntimeError("no step was made: the gradient scaler passed over all of them")
    optimizer_ms = bench.repeated(optimizer.step)["ms"]
    return {
        **times, **peaks, "optimizer ms": optimizer_ms, "fused": bool(optimizer.defaults.get("fused")),
        "waits": sum(places.values()), "waits at": dict(places),
    }  # fmt: skip


def synchronisations(bench: Bench, function: Any) -> Counter[str]:
    """Where the host waits for the device in a call, and how often."""
    if not bench.on_gpu:
        return Counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in said if "called a synchronizing" in str(warning.message)]
    return Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in waits)


def compiled(bench: Bench) -> Iterator[Row]:
    """As `train` with torch.compile, which nnU-Net has on by default on a GPU."""
    import torch._dynamo.utils as dynamo

    classes, alone_ms = bench.sizes.classes, None
    for name, unet in ((ALONE, PLAIN), (OURS, PLAIN), (ALONE, RESENC)):
        if lack := bench.lacks(COMPILE_S):
            yield row_name(name, unet, classes), {"skipped": lack}
            continue
        torch._dynamo.reset()
        dynamo.counters.clear()
        trainer = start(bench, type("Steps", (StepOnly, trainer_class(bench, name)), {"compiled": True}), classes, unet)
        batch = random_batch(bench, trainer, classes)
        first_s, _ = bench.seconds(lambda: trainer.train_step(batch))  # noqa: B023
        with bench.peaks() as peaks:
            times = bench.repeated(lambda: trainer.train_step(batch))  # noqa: B023
        alone_ms = alone_ms or times["ms"]
        graphs, breaks = dynamo.counters["stats"]["unique_graphs"], dynamo.counters["graph_break"]
        yield row_name(name, unet, classes), {
            **times, **peaks, "ratio": round(times["ms"] / alone_ms, 2), "first step s": first_s, "graphs": graphs,
            "breaks": sum(breaks.values()), "breaks at": {str(reason)[:160]: count for reason, count in breaks.items()},
        }  # fmt: skip
