"""What training is made of, against the released loss and learning rates. The references lie outside of the project."""

import json

import numpy as np
import pytest
import torch
from builders.parity import REFERENCES

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE
from nnunetv2_cdpd.training.masked_sums import masked_sums
from nnunetv2_cdpd.training.paper_recipe import WarmupCosineScheduler

pytestmark = pytest.mark.skipif(not REFERENCES.is_dir(), reason="the reference outputs are not at hand")

LOSSES = {  # first case's number or name in a reference's key -> classes that the release supervises, for each of both samples
    "label0007": (range(1, 15), range(1, 15)),
    "label0076": ((1, 3, 4, 5, 6, 7, 11, 14),) * 2,
    "liver_1": ((6, 27),) * 2,
    "label0010": ((2, 3, 26, 32), (11, 28)),
}


@pytest.fixture
def sums(recipe):
    """Our sums over voxels of each (sample, class); every class by itself, since the reference's targets overlap at random."""
    shape = (2, 32, 6, 6, 6)
    logits = torch.from_numpy(recipe.features("loss.logits", shape))
    target = torch.from_numpy(recipe.normal("loss.target", shape) > 0.8).int()
    tables = torch.tensor([[[NEGATIVE, POSITIVE]]] * 2, dtype=torch.uint8)
    return [masked_sums(logits[:, k : k + 1], target[:, k : k + 1], tables, ()) for k in range(32)]


def released_loss(sums, classes):
    """The released Dice and BCE, from our sums; it smooths Dice otherwise than nnU-Net and we do."""
    pairs = [(sample, sums[number - 1]) for sample, numbers in enumerate(classes) for number in numbers]
    bce = np.mean([float(part.bce[sample, 0] / part.supervised[sample, 0]) for sample, part in pairs])
    dice = [
        1 - 2 * float(part.intersection[sample, 0]) / (float(part.predicted[sample, 0] + part.reference[sample, 0]) + 1)
        for sample, part in pairs
    ]
    return {"dice": np.mean(dice), "bce": bce, "sum": np.mean(dice) + bce}


@pytest.mark.parametrize("case", LOSSES)
def test_dice_and_bce_are_made_of_the_released_sums(sums, case):
    references = json.loads((REFERENCES / "loss.json").read_text())
    (expected,) = (values for key, values in references.items() if f"/{case}|" in key)
    assert released_loss(sums, LOSSES[case]) == pytest.approx(expected, rel=2e-5)
    others = tuple([number % 32 + 1 for number in numbers] for numbers in LOSSES[case])
    assert released_loss(sums, others) != pytest.approx(expected, rel=2e-5)


def learning_rates(epochs, warmup):
    optimizer = torch.optim.AdamW([torch.zeros(1)], 4e-4)
    scheduler = WarmupCosineScheduler(optimizer, 4e-4, epochs, warmup)
    rates = []
    for epoch in range(epochs):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_learning_rate_of_every_epoch_is_the_released_one():
    expected = json.loads((REFERENCES / "lr_schedule.json").read_text())["lr_used_in_epoch"]
    rates, others = learning_rates(1000, 50), learning_rates(1000, 51)
    assert {epoch: rates[int(epoch)] for epoch in expected} == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert {epoch: others[int(epoch)] for epoch in expected} != pytest.approx(expected, rel=1e-6, abs=1e-12)
