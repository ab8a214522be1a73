"""Scores: how well the head of an organ that is left out finds it, by every way to make one."""

from dataclasses import replace

import torch
from heads import by_labels, by_mlp, by_ridge, logits_of, standardised
from prompt_tables import EXCHANGED, LABELS, MLP, OTHER, RANDOM, RIDGE, Score
from texts import exchanged, random_texts
from torch import Tensor
from voxels import Seen, Voxels

SEEDS = (0, 1, 2)


def scores_of(seen: Seen, trained_on: list[int], left_out: int, texts: dict[str, Tensor]) -> list[Score]:
    """Every head of an organ on one network.

    Args:
        trained_on: Organs that the network has a head of; that of the organ itself is taken away.
        texts: Name -> (K, E) of all organs; the first one is exchanged and replaced by noise as well.
    """
    known = [organ for organ in trained_on if organ != left_out]
    mean, deviation = standardised(seen.trained.features, seen.trained.weights)
    trained, tested = (replace(voxels, features=(voxels.features - mean) / deviation) for voxels in (seen.trained, seen.tested))
    heads = seen.heads[[trained_on.index(organ) for organ in known]]
    heads = torch.cat([heads[:, :-1] * deviation, (heads[:, -1] + heads[:, :-1] @ mean)[:, None]], 1)
    rivals = logits_of(heads, tested.features).amax(1)

    def score(maker: str, text: str, seed: int, head: Tensor, competes: bool = True) -> Score:
        return Score(maker, text, seed, *dice_of(head, tested, left_out, rivals if competes else None))

    found = [score(LABELS, "", 0, by_labels(left_out, trained))]
    own = trained.labels == 1 + left_out
    overlaps = [best_threshold(logits, own, trained.weights)[0] for logits in logits_of(heads, trained.features).T]
    found.append(score(OTHER, "", 0, heads[overlaps.index(max(overlaps))], competes=False))
    first = next(iter(texts.values()))
    told = [(name, 0, table) for name, table in texts.items()]
    told += [(EXCHANGED, seed, exchanged(first, seed)) for seed in SEEDS]
    told += [(RANDOM, seed, random_texts(first, seed)) for seed in SEEDS]
    for name, seed, table in told:
        found.append(score(RIDGE, name, seed, by_ridge(table, known, left_out, heads)))
        starts = SEEDS if name in texts else (seed,)
        found += [score(MLP, name, start, by_mlp(table, known, left_out, trained, start)) for start in starts]
    return found


def dice_of(head: Tensor, voxels: Voxels, organ: int, rivals: Tensor | None) -> tuple[float | None, float, float]:
    """competing, alone and best, see Score; rivals: (N,), the highest logit of the other heads."""
    logits = logits_of(head[None], voxels.features)[:, 0]
    own = voxels.labels == 1 + organ
    competing = None if rivals is None else mean_dice(logits > rivals.clamp_min(0), own, voxels.cases)
    _, threshold = best_threshold(logits, own, voxels.weights)
    return competing, mean_dice(logits > 0, own, voxels.cases), mean_dice(logits >= threshold, own, voxels.cases)


def mean_dice(predicted: Tensor, own: Tensor, cases: Tensor) -> float:
    """Mean over the cases that have the organ."""
    both, either = (torch.bincount(cases, weights=values.double()) for values in (predicted & own, predicted.int() + own.int()))
    there = torch.bincount(cases, weights=own.double()) > 0
    return float((2 * both / either)[there].mean())


def best_threshold(logits: Tensor, own: Tensor, weights: Tensor) -> tuple[float, float]:
    """Highest Dice of all voxels together that a threshold can give, and that threshold (voxels at it are inside)."""
    order = logits.argsort(descending=True)
    inside = weights[order].double()
    both, size = (inside * own[order]).cumsum(0), inside.cumsum(0)
    dice = 2 * both / (size + both[-1])
    at = int(dice.argmax())
    return float(dice[at]), float(logits[order[at]])
