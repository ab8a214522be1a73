"""Seeding: the random numbers of a training begin anew at every epoch, so a training that was stopped goes on as it would have.

nnU-Net seeds nothing. Its loader's worker processes (`nnUNet_n_proc_DA` above 0) seed themselves and are out of reach.
"""

import random

import numpy as np
import torch


def seed_generators(seed: int, epoch: int, rank: int = 0) -> None:
    """Seed Python's, NumPy's and PyTorch's generators of this process; processes of one training get numbers of their own."""
    own = int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)
