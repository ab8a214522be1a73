"""DistillingLoss: the other network's answer counts exactly where nothing is annotated."""

import numpy as np
import torch

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.training.distillation import DistillingLoss

# Channels: liver and spleen are former classes, aorta is new; the source annotates aorta and liver.
ANNOTATION = Annotation(
    classes=("liver", "spleen", "aorta"),
    values=(1, 2, 3),
    regions=((1,), (2,), (3,)),
    sources=(Source("new", ("liver", "aorta")),),
)


def loss_and_batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, 4, generator=generator, requires_grad=True)
    answer = torch.randn(2, 2, 2, 3, 4, generator=generator)
    label_map = torch.zeros(2, 1, 2, 3, 4)
    label_map[:, :, 0, 0] = 3
    return DistillingLoss(ANNOTATION, former=[0, 1]), logits, answer, label_map, torch.zeros(2, dtype=torch.long)


def test_the_distance_is_that_of_what_is_not_annotated_by_hand():
    loss, logits, answer, label_map, sources = loss_and_batch()
    found = loss.distance(logits[:, :2], answer, label_map, sources)
    free = (label_map[:, 0] == 0).numpy()  # spleen where there is no aorta; liver is annotated
    p, q = (torch.sigmoid(values[:, 1]).detach().numpy().astype(float) for values in (logits, answer))
    divergence = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    dice = [(2 * (a * b)[f].sum() + 1e-3) / ((a**2 + b**2)[f].sum() + 1e-3) for a, b, f in zip(p, q, free)]
    assert np.isclose(found.item(), divergence[free].mean() + 1 - np.mean(dice), atol=1e-5)


def test_the_same_answer_is_at_no_distance():
    loss, logits, _, label_map, sources = loss_and_batch()
    assert abs(loss.distance(logits[:, :2], logits[:, :2].detach(), label_map, sources).item()) < 1e-6


def test_annotated_pairs_get_no_gradient_from_the_answer():
    loss, logits, answer, label_map, sources = loss_and_batch()
    loss.distance(logits[:, :2], answer, label_map, sources).backward()
    gradient = logits.grad
    assert (gradient[:, 0] == 0).all()
    assert (gradient[:, 1, 0, 0] == 0).all()
    assert (gradient[:, 1, 1] != 0).all()


def test_without_an_answer_it_is_the_partial_label_loss():
    loss, logits, answer, label_map, sources = loss_and_batch()
    plain = loss([logits], [label_map, sources])
    loss.answer = answer
    with_answer = loss([logits], [label_map, sources])
    assert torch.allclose(with_answer, plain + loss.distance(logits[:, :2], answer, label_map, sources))
