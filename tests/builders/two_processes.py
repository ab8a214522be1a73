"""Training steps on batches of several sources, in one process or as one of two.

A spawned process imports what it runs by name: it is here and not in a test file, whose name only pytest knows.
"""

import itertools
import os
from dataclasses import replace

import torch
from torch import distributed, nn

from builders.partial_labels import ANNOTATION, KITS, LITS, ORGANS, SHAPE, STORED
from nnunetv2_cdpd.training.distributed import data_parallel, process_device, process_group
from nnunetv2_cdpd.training.loss import PartialLabelLoss

NUM_CLASSES = len(ANNOTATION.classes)
IGNORED = 8
# per process, the sources of its samples; "empty": every voxel of these samples is ignored
SPLITS = {
    "other sources in each process": ((LITS, ORGANS), (KITS, KITS)),
    "more samples in the first process": ((LITS, ORGANS), (KITS,)),
    "nothing supervised in the second process": ((LITS, KITS), ("empty",)),
}


def make_sample(index, source):
    generator = torch.Generator().manual_seed(index)
    image = torch.randn(1, *SHAPE, generator=generator, dtype=torch.float64)
    if source == "empty":
        return image, torch.full((1, *SHAPE), IGNORED, dtype=torch.int16), LITS
    values = torch.tensor(STORED[source])[torch.randint(len(STORED[source]), (1, *SHAPE), generator=generator)]
    return image, values.to(torch.int16), source


def make_batch(sources, first_index):
    samples = [make_sample(first_index + index, source) for index, source in enumerate(sources)]
    images, values, indices = zip(*samples)
    return torch.stack(images), torch.stack(values), torch.tensor(indices)


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(3, NUM_CLASSES, 1)).double()


def outputs_and_targets(network, batch):
    """Two deep-supervision outputs, the second one of every other voxel."""
    images, values, sources = batch
    logits = network(images)
    return [logits, logits[..., ::2, ::2, ::2]], [values, values[..., ::2, ::2, ::2], sources]


def make_loss(batch_dice, ddp):
    annotation = replace(ANNOTATION, ignore_value=IGNORED)
    return PartialLabelLoss(annotation, weights=(0.7, 0.3), batch_dice=batch_dice, ddp=ddp)


def training_steps(rank, folder):
    """One of two processes: a training step of every split, with and without batch Dice."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    device = torch.device("cpu")
    with process_group(device):
        for (number, split), batch_dice in itertools.product(enumerate(SPLITS.values()), (False, True)):
            network = data_parallel(make_network(), process_device(device))
            batch = make_batch(split[rank], first_index=sum(map(len, split[:rank])))
            loss = make_loss(batch_dice, ddp=True)(*outputs_and_targets(network, batch))
            loss.backward()
            value = loss.detach().clone()
            distributed.all_reduce(value)
            if rank == 0:
                torch.save([value / 2, *(p.grad for p in network.parameters())], folder / f"{number}_{batch_dice}.pt")
