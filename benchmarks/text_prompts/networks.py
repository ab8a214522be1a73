"""Networks: small CDPDNets whose features are looked at: trained here for the abdomen, by the evidence's runs for the neck."""

from pathlib import Path

import numpy as np
import torch
from cases import Case, neck
from heads import segmentation_loss
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from prompt_tables import ORGANS_OF, SEEN
from torch import Tensor
from voxels import Seen, seen_by

from nnunetv2_cdpd.inference.network import PredictionNetwork
from nnunetv2_cdpd.inference.predictor import Predictor

PATCH = [40, 40, 40]
STEPS, BATCH, RATE = 400, 2, 1e-2
_RARE = -4.0  # bias of heads at first: most voxels are of no organ
_FEATURES = [16, 32, 64, 96]  # as of nnUNetPlannerCDPDSmall
_TRAINER = "nnUNetTrainerCDPDBenchmark__nnUNetBenchmarkPlans__3d_fullres"


def abdomen_seen(case: Case, known: list[int], texts: Tensor) -> Seen:
    """Train a network on the organs that it may know, modulated by their texts, and run it."""
    network = _new_network(len(known), texts.shape[1])
    network.set_text_embeddings(texts[known], torch.empty(0))
    torch.nn.init.constant_(network.decoder.seg_layers[-1].bias, _RARE)
    _train(network, case, known)
    with torch.autocast("cpu", torch.bfloat16):
        return seen_by(PredictionNetwork(network.eval()), [case], PATCH)


def left_out_together(region: str, network: str) -> list[list[int]]:
    """Organs whose heads are made on one network: all of them one by one where it has seen all; else those that it has not.

    In the abdomen three at a time, never both of a pair, since each network costs minutes.
    """
    organs = list(range(len(ORGANS_OF[region])))
    if network == SEEN:
        return [organs]
    networks = 4 if region == "abdomen" else len(organs)
    return [organs[first::networks] for first in range(networks)]


def neck_model(split: Path, left_out: str | None = None) -> Path:
    """Folder of a model of the evidence's study `extension`, which may not be there yet."""
    arm = split / "seed0" / ("joint" if left_out is None else f"without_{left_out}")
    folders = sorted((arm / "nnUNet_results").glob(f"*/{_TRAINER}"))
    return folders[0] if folders else arm


def is_trained(model: Path) -> bool:
    return (model / "fold_all" / "checkpoint_final.pth").exists()


def neck_seen(split: Path, model: Path) -> Seen:
    predictor = Predictor.from_folder(model, folds=["all"], device="cpu")
    network = predictor.network.eval()
    network.load_state_dict(predictor.list_of_parameters[0])
    return seen_by(network, neck(split, predictor), predictor.configuration_manager.patch_size)


def _new_network(num_classes: int, text_width: int) -> torch.nn.Module:
    stages = len(_FEATURES)
    kwargs = {
        "n_stages": stages, "features_per_stage": _FEATURES, "conv_op": "torch.nn.Conv3d", "kernel_sizes": [[3] * 3] * stages,
        "strides": [[1] * 3] + [[2] * 3] * (stages - 1), "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1), "conv_bias": True, "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}, "patch_size": PATCH, "fused_stages": [],
        "unet_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet", "vision": None, "task": None,
        "text": {"encoder": "released", "embed_dim": text_width, "class_prompts": [""] * num_classes, "modulate": True},
    }  # fmt: skip
    torch.manual_seed(0)
    return get_network_from_plans(
        "nnunetv2_cdpd.network.CDPDNet", kwargs, ("conv_op", "norm_op", "dropout_op", "nonlin"), 1, num_classes,
        deep_supervision=False,
    )  # fmt: skip


def _train(network: torch.nn.Module, case: Case, known: list[int]) -> None:
    """On the planes of training: patches around a voxel of an organ that it knows, every organ as often."""
    random = np.random.default_rng(0)
    places = [((case.labels == 1 + organ) & case.trained).nonzero().numpy() for organ in known]
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS, 0.9)
    network.train()
    for _ in range(STEPS):
        cuts = [_patch(random, places[random.integers(len(places))], case.labels.shape) for _ in range(BATCH)]
        with torch.autocast("cpu", torch.bfloat16):  # a third of the time where the CPU has units for it
            logits = network(torch.stack([case.image[(slice(None), *cut)] for cut in cuts])).float()
        labels, trained = (torch.stack([volume[cut] for cut in cuts]) for volume in (case.labels, case.trained))
        targets = (labels[..., None] == 1 + torch.tensor(known)).float()
        loss = segmentation_loss(logits.movedim(1, -1)[trained], targets[trained], torch.ones(int(trained.sum())))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _patch(random: np.random.Generator, places: np.ndarray, shape: torch.Size) -> tuple[slice, ...]:
    """A patch that holds one of some places, anywhere in it."""
    place = places[random.integers(len(places))]
    starts = [int(np.clip(at - random.integers(size), 0, length - size)) for at, size, length in zip(place, PATCH, shape)]
    return tuple(slice(start, start + size) for start, size in zip(starts, PATCH))
