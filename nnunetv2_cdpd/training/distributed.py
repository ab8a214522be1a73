"""Training in several processes, on one node or several: what nnU-Net takes for granted there, set right.

nnU-Net's own `-num_gpus` starts the processes of one node, each with the CUDA device of its rank. Under a launcher (torchrun,
a cluster's) ranks run over nodes, so the device is that of the local rank; without CUDA the processes talk through gloo.
"""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_cdpd.errors import UserError


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
                f"argument device cuda: process {local_rank()} of this node has no GPU, {torch.cuda.device_count()} are there; start as "
                "many processes as GPUs (torchrun --nproc_per_node), or give argument device cpu"
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


def rank_of_pretrained_weights(device: torch.device) -> SimpleNamespace:
    """In place of torch.distributed, whose rank nnU-Net takes for the index of the GPU to load -pretrained_weights onto."""
    return SimpleNamespace(is_initialized=lambda: device.type == "cuda", get_rank=local_rank)
