"""A training step keeps the GPU busy: network, loss and counts read nothing of it, and send it nothing but the batch."""

import pytest
import torch
from builders.network import make_network, patch_for
from builders.partial_labels import ANNOTATION, CLASSES, KITS, LITS
from builders.waiting import no_waiting

from nnunetv2_cdpd.training.loss import PartialLabelLoss
from nnunetv2_cdpd.training.pseudo_dice import counts_per_source


@pytest.mark.parametrize("batch_dice", [False, True])
def test_nothing_waits_for_the_device_between_batch_and_gradients(batch_dice):
    network = make_network(num_classes=len(CLASSES)).to("meta")
    loss = PartialLabelLoss(ANNOTATION, batch_dice=batch_dice).to("meta")
    assert loss.unions
    data, task, sources = patch_for().to("meta"), torch.tensor([0, 2], device="meta"), torch.tensor([LITS, KITS], device="meta")
    label_map = torch.zeros(2, 1, *data.shape[2:], dtype=torch.int16, device="meta")
    with no_waiting() as operations:
        logits = network(data, task)
        value = loss(logits, [label_map, sources])
        forward = operations.count
        value.backward()
        assert operations.count > forward > 100  # both were looked at
        counts_per_source(logits, label_map, sources, loss)
    assert all(parameter.grad is not None for name, parameter in network.named_parameters() if name.startswith("encoder."))


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x[[0, 1]],
        lambda x: x[torch.arange(2)],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: torch.arange(2).to(x.device),
        lambda x: torch.tensor(1).to(x.device),
    ],
    ids=["item", "bool", "cpu", "bool index", "list index", "index of the host", "nonzero", "equal", "numbers", "to", "to: one"],
)
def test_what_waits_is_seen(waits):
    x = torch.zeros(3, 4, device="meta")
    with pytest.raises(AssertionError), no_waiting():
        waits(x)
