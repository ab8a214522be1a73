"""Loading: whether the loader's processes keep up with the training step.

The GPU is busy for the time of a step alone out of the time of a step that waits for its batch. Cases are made up, larger than a
patch, and stored as nnU-Net stores them: blosc2, or numpy's files where blosc2 is not installed.
"""

import os
from collections.abc import Iterator
from typing import Any

import torch
from loader import made_up_cases, make_annotation, make_cases
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from gpu_sections.bench import Bench, Row, quiet
from gpu_sections.training import OURS, cases_folder, dataset_json_of, start, trainer_class

DATASET = "Dataset702_Loaded"


def load(bench: Bench) -> Iterator[Row]:
    sizes = bench.sizes
    write_cases(bench)
    os.environ["nnUNet_n_proc_DA"] = str(sizes.processes)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as nnUNetv2_train on a GPU; the processes take over what is set
    trainer = start(bench, trainer_class(bench, OURS), sizes.classes, dataset=DATASET)
    try:
        yield f"{sizes.processes} processes, {sizes.classes} classes", _loaded(bench, trainer)
    finally:
        with quiet():
            for loader in (trainer.dataloader_train, trainer.dataloader_val):
                loader._finish()
        torch.set_num_threads(threads)


def write_cases(bench: Bench) -> None:
    entries = dataset_json_of(bench.sizes.classes)
    labels = LabelManager(entries["labels"], entries["regions_class_order"])
    folder, arguments = cases_folder(bench, DATASET), (make_annotation(bench.sizes.classes), labels, bench.sizes.patch)
    if "blosc2" not in bench.absent:
        make_cases(folder, *arguments)
        return
    for case, data, seg, properties in made_up_cases(*arguments):
        nnUNetDatasetNumpy.save_case(data, seg, properties, str(folder / case))


def _loaded(bench: Bench, trainer: Any) -> dict[str, Any]:
    steps, batches = bench.sizes.loaded_steps, trainer.dataloader_train
    batch = next(batches)
    alone_ms = bench.repeated(lambda: trainer.train_step(batch))["ms"]
    # What the processes have made before, in their two queues and in hand, tells nothing of their pace.
    in_store = 2 * max(6, bench.sizes.processes // 2) + bench.sizes.processes
    _steps(trainer, in_store)
    seconds, _ = bench.seconds(lambda: _steps(trainer, steps))
    for _ in range(in_store):
        next(batches)
    loader_seconds, _ = bench.seconds(lambda: [next(batches) for _ in range(steps)])
    loaded_ms = 1e3 * seconds / steps
    return {
        "step alone ms": alone_ms, "step with loader ms": round(loaded_ms, 1), "GPU busy": f"{min(1, alone_ms / loaded_ms):.0%}",
        "loader alone, ms per batch": round(1e3 * loader_seconds / steps, 1),
        "cores": os.cpu_count(), "stored as": "npy" if "blosc2" in bench.absent else "blosc2",
    }  # fmt: skip


def _steps(trainer: Any, count: int) -> None:
    for _ in range(count):
        trainer.train_step(next(trainer.dataloader_train))
