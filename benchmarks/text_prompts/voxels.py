"""Voxels: the features that a network's heads read, at the voxels that heads are trained on and at those that are tested."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from cases import Case
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from torch import Tensor

from nnunetv2_cdpd.inference.blocks import Readout
from nnunetv2_cdpd.inference.network import PredictionNetwork
from nnunetv2_cdpd.inference.sliding_window import Ensemble, blocks_of_logits
from nnunetv2_cdpd.jobs import written_beside

_ORGAN, _BACKGROUND = 500, 4000  # voxels to train on, of each organ and of the rest, of all cases together


@dataclass(frozen=True)
class Voxels:
    """features: (N, F). labels: (N,), 0 or 1 + index of the organ, in the order of all organs. cases: (N,).
    weights: (N,): how many voxels each stands for.
    """

    features: Tensor
    labels: Tensor
    cases: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Seen:
    """What a network makes of its cases. heads: (k, F + 1), weights and bias of the organs that it knows.
    facts: (K, n) of all organs, from the training cases.
    """

    trained: Voxels
    tested: Voxels
    heads: Tensor
    facts: Tensor

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            torch.save({**asdict(self)}, beside)

    @classmethod
    def read(cls, path: Path) -> "Seen":
        content = torch.load(path, weights_only=True)
        return cls(Voxels(**content["trained"]), Voxels(**content["tested"]), content["heads"], content["facts"])


def seen_by(network: PredictionNetwork, cases: Iterable[Case], patch: list[int]) -> Seen:
    """Run a network over cases."""
    trained, tested, facts = [], [], []
    random = np.random.default_rng(0)
    for number, case in enumerate(cases):
        features = features_of(network, case.image, patch)
        if case.trained.any():
            trained.append(_voxels(features, case.labels, case.trained, number))
            facts.append(case.facts)
        if case.tested.any():
            tested.append(_voxels(features, case.labels, case.tested, number))
    layer = network.network.decoder.seg_layers[-1]
    heads = torch.cat([layer.weight.detach().flatten(1), layer.bias.detach()[:, None]], 1)
    organs = sorted({organ for found in facts for organ in found})
    means = np.stack([np.mean([found[organ] for found in facts if organ in found], 0) for organ in organs])
    return Seen(_drawn(_joined(trained), random), _joined(tested), heads, torch.from_numpy(means).float())


@torch.inference_mode()
def features_of(network: PredictionNetwork, image: Tensor, patch: list[int]) -> Tensor:
    """(1, X, Y, Z) -> (F, X, Y, Z), the mean over windows, as in prediction."""
    shape = image.shape[1:]
    missing = [max(0, length - there) for length, there in zip(patch, shape)]
    padded = torch.nn.functional.pad(image, [part for pad in reversed(missing) for part in (0, pad)])
    steps = compute_steps_for_sliding_window(tuple(padded.shape[1:]), tuple(patch), 0.5)
    corners = [(x, y, z) for x in steps[0] for y in steps[1] for z in steps[2]]
    slicers = [(slice(None), *(slice(at, at + size) for at, size in zip(corner, patch))) for corner in corners]
    network.features_only = True
    ensemble = Ensemble(lambda _, windows: network(windows).float(), 1, network.num_features, False, Readout())
    features = torch.empty(network.num_features, *padded.shape[1:])
    for block in blocks_of_logits(
        padded, slicers, ensemble, third_axis=2, use_gaussian=True, windows_per_batch=1, device=image.device, progress=False
    ):
        block.write_to(features)
    return features[(slice(None), *map(slice, shape))]


def _voxels(features: Tensor, labels: Tensor, where: Tensor, case: int) -> Voxels:
    chosen = features[:, where].T.contiguous()
    return Voxels(chosen, labels[where].long(), torch.full((len(chosen),), case), torch.ones(len(chosen)))


def _joined(parts: list[Voxels]) -> Voxels:
    return Voxels(*(torch.cat([getattr(part, name) for part in parts]) for name in ("features", "labels", "cases", "weights")))


def _drawn(voxels: Voxels, random: np.random.Generator) -> Voxels:
    """Some of each organ and of the rest, which stand for all."""
    chosen, weights = [], []
    for label in voxels.labels.unique():
        there = (voxels.labels == label).nonzero()[:, 0]
        most = _ORGAN if label else _BACKGROUND
        kept = there[random.permutation(len(there))[:most]]
        chosen.append(kept)
        weights.append(torch.full((len(kept),), len(there) / len(kept)))
    at = torch.cat(chosen)
    return Voxels(voxels.features[at], voxels.labels[at], voxels.cases[at], torch.cat(weights))
