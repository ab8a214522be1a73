"""Training in several processes, on one node or several: what nnU-Net takes for granted there, set right.

nnU-Net's own `-num_gpus` starts the processes of one node, each with the CUDA device of its rank. Under a launcher (torchrun,
a cluster's) ranks run over nodes, so the device is that of the local rank; without CUDA the processes talk through gloo.
"""

import inspect
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.host import lent_arguments, substituted
from nnunetv2_cdpd.link import ensure_linked, find_class

DEFAULT_TRAINER = "nnUNetTrainerCDPD"


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def local_rank() -> int:
    """Rank among the processes of this node, which is the index of the process's GPU."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    return distributed.get_rank()  # nnU-Net started the processes, on one node


def process_device(device: torch.device) -> torch.device:
    """The device of this process in a process group, for the kind of device that was asked for."""
    return torch.device("cuda", local_rank()) if device.type == "cuda" else device


def data_parallel(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """The network in DDP, on any device.

    Buffers are not sent around before every forward pass: they are constants here (frozen encoders) or equal in all
    processes (synchronised batch norm), and processes validate different numbers of patches, so that they would wait for
    each other for ever.

    Raises:
        NotImplementedError: A synchronised batch norm on a CPU.
    """
    if device.type == "cpu" and any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
        raise NotImplementedError(
            "nnU-Net synchronises batch norms over processes, which PyTorch does on GPUs only; train this network on GPUs or in "
            "one process"
        )
    device_ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=device_ids, broadcast_buffers=False)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """The group of all processes that the launcher started, as its environment variables describe it.

    Raises:
        UserError: The device cannot take part.
    """
    if device.type == "cuda":
        if local_rank() >= torch.cuda.device_count():
            raise UserError(
                f"argument device cuda: process {local_rank()} of this node has no GPU, {torch.cuda.device_count()} are there; "
                "start as many processes as GPUs (torchrun --nproc_per_node), or give argument device cpu"
            )
        torch.cuda.set_device(local_rank())
        distributed.init_process_group("nccl", device_id=process_device(device))
    elif device.type == "cpu":
        # nnU-Net lets each process use every core
        torch.set_num_threads(max(1, multiprocessing.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
        distributed.init_process_group("gloo")
    else:
        raise UserError(f"argument device {device.type}: training in several processes needs cuda or cpu")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def train(arguments: Sequence[str]) -> None:
    """nnUNetv2_train: one process of several where a launcher started it, else as nnU-Net does it.

    Args:
        arguments: Those of nnUNetv2_train; the trainer is ours unless -tr names another.

    Raises:
        UserError: The arguments and the launcher contradict each other.
    """
    from nnunetv2.run import load_pretrained_weights, run_training

    host_training, host_look_up = run_training.run_training, run_training.recursive_find_trainer_class_by_name

    def training(*args: Any, **kwargs: Any) -> None:
        given = inspect.signature(host_training).bind(*args, **kwargs).arguments
        num_gpus, device = given["num_gpus"], given["device"]
        if not launched():
            _check_num_gpus(num_gpus, device)
            host_training(*args, **kwargs)
            return
        if num_gpus > 1:
            raise UserError("-num_gpus: the launcher has started the processes already; leave -num_gpus out")
        with process_group(device), substituted(load_pretrained_weights, dist=_device_of_pretrained_weights(device)):
            host_training(*args, **kwargs)

    def look_up(name: str) -> type:
        try:
            return find_class(name)  # works where nnunetv2 is read-only and not linked
        except AttributeError:
            pass  # nnU-Net's own, or the user's
        try:
            return host_look_up(name)
        except RuntimeError as error:
            raise UserError(
                f"-tr {name}: nnU-Net finds no such trainer; a folder of your own is named by nnUNet_extTrainer"
            ) from error

    with (
        lent_arguments("cdpd train", arguments, tr=DEFAULT_TRAINER),
        substituted(run_training, run_training=training, recursive_find_trainer_class_by_name=look_up),
    ):
        run_training.run_training_entry()


def _check_num_gpus(num_gpus: int, device: torch.device) -> None:
    if num_gpus > 1 and device.type != "cuda":
        raise UserError(
            f"-num_gpus {num_gpus}: nnU-Net starts processes for GPUs only; on CPUs: "
            f"torchrun --nproc_per_node {num_gpus} --no-python cdpd train ... -device cpu"
        )
    if num_gpus > 1:
        ensure_linked()  # the processes that nnU-Net starts look the trainer up by themselves


def _device_of_pretrained_weights(device: torch.device) -> SimpleNamespace:
    """In place of torch.distributed, whose rank nnU-Net takes for the index of the GPU to load -pretrained_weights onto."""
    return SimpleNamespace(is_initialized=lambda: device.type == "cuda", get_rank=local_rank)
