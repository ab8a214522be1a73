"""Heads: a last layer for an organ that a network has none of, made from what is known of the others.

A head is F weights and a bias, of features that were standardised over the voxels of training.

    ridge   regression from text to head, over the heads that the network has
    mlp     a small network that makes heads from text, trained by the loss of segmentation on the organs that are known
            (the controller of the Universal Model, arXiv 2301.00785)
    labels  trained by the same loss on the organ itself: what a head on these features can reach
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from voxels import Voxels

_STEPS, _DECAY, _HIDDEN = 300, 1e-4, 64
_RATE, _RATE_OF_MLP = 0.1, 1e-2  # at first; they fall to 0
_PENALTIES = [10.0**power for power in range(-3, 4)]
_SMOOTH = 1e-5


def segmentation_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """BCE - Dice, of logits and targets (N, K), mean over K; weights (N,): how many voxels each stands for."""
    weights = weights[:, None]
    bce = (nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights).sum(0) / weights.sum()
    probabilities = logits.sigmoid()
    both, either = (weights * probabilities * targets).sum(0), (weights * (probabilities + targets)).sum(0)
    return (bce - (2 * both + _SMOOTH) / (either + _SMOOTH)).mean()


def logits_of(heads: Tensor, features: Tensor) -> Tensor:
    """Heads (k, F + 1) on features (N, F): (N, k)."""
    return torch.addmm(heads[:, -1], features, heads[:, :-1].T)


def standardised(seen_features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of features (N, F)."""
    share = (weights / weights.sum())[:, None]
    mean = (share * seen_features).sum(0)
    return mean, (share * (seen_features - mean) ** 2).sum(0).sqrt().clamp_min(1e-6)


def by_ridge(texts: Tensor, known: list[int], left_out: int, heads: Tensor) -> Tensor:
    """Head (F + 1,) of an organ; the penalty is the one that foretells each known head best from the others.

    Args:
        texts: (K, E) of all organs.
        known: Organs of the heads (k, F + 1), in their order.
    """
    table = texts[known]
    errors = []
    for penalty in _PENALTIES:
        others = [[j for j in range(len(known)) if j != i] for i in range(len(known))]
        foretold = torch.stack([_ridge(table[rest], heads[rest], table[i], penalty) for i, rest in enumerate(others)])
        errors.append(float(((foretold - heads) ** 2).sum()))
    return _ridge(table, heads, texts[left_out], _PENALTIES[errors.index(min(errors))])


def _ridge(texts: Tensor, heads: Tensor, text: Tensor, penalty: float) -> Tensor:
    scaled = _scaled(texts)
    table, one = scaled(texts), scaled(text)
    mean = heads.mean(0)
    kernel = table @ table.T + penalty * torch.eye(len(table))
    return mean + (one @ table.T) @ torch.linalg.solve(kernel, heads - mean)


def by_mlp(texts: Tensor, known: list[int], left_out: int, voxels: Voxels, seed: int) -> Tensor:
    """Head (F + 1,) of an organ, by a network that learned to make the heads of the known ones."""
    torch.manual_seed(seed)
    scaled = _scaled(texts[known])
    table = scaled(texts[known])
    made = nn.Sequential(nn.Linear(texts.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, voxels.features.shape[1] + 1))
    _train(made, lambda: made(table), _targets(voxels, known), voxels, _RATE_OF_MLP)
    with torch.no_grad():
        return made(scaled(texts[left_out]))


def by_labels(organ: int, voxels: Voxels) -> Tensor:
    """Head (F + 1,) of an organ, trained on its own labels."""
    torch.manual_seed(0)
    layer = nn.Linear(voxels.features.shape[1], 1)
    _train(layer, lambda: torch.cat([layer.weight, layer.bias[:, None]], 1), _targets(voxels, [organ]), voxels, _RATE)
    return torch.cat([layer.weight[0], layer.bias]).detach()


def _train(module: nn.Module, heads: Callable[[], Tensor], targets: Tensor, voxels: Voxels, rate: float) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        segmentation_loss(logits_of(heads(), voxels.features), targets, voxels.weights).backward()
        optimizer.step()
        schedule.step()


def _targets(voxels: Voxels, organs: list[int]) -> Tensor:
    return (voxels.labels[:, None] == 1 + torch.tensor(organs)).float()


def _scaled(texts: Tensor) -> Callable[[Tensor], Tensor]:
    """Centred, the mean squared length 1: embeddings of CLIP are all rather alike."""
    mean = texts.mean(0)
    length = ((texts - mean) ** 2).sum(1).mean().sqrt().clamp_min(1e-6)
    return lambda text: (text - mean) / length
