"""PartialLabelLoss: equal to nnU-Net's where everything is annotated, silent where nothing is."""

from dataclasses import replace

import pytest
import torch
from builders.partial_labels import ANNOTATION, CLASSES, KITS, LITS, ORGANS, SHAPE, STORED
from hypothesis import given, settings, strategies
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunetv2_cdpd.annotation import NEGATIVE, UNSUPERVISED, Source
from nnunetv2_cdpd.training.loss import PartialLabelLoss


def make_batch(sources, seed=0, dtype=torch.float32, num_classes=len(CLASSES)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(sources), num_classes, *SHAPE, generator=generator, dtype=dtype, requires_grad=True)
    maps = [torch.tensor(STORED[s])[torch.randint(len(STORED[s]), (1, *SHAPE), generator=generator)] for s in sources]
    return logits, torch.stack(maps).to(torch.int16), torch.tensor(sources)


def loss_and_gradient(loss, logits, label_map, sources):
    value = loss(logits, [label_map, sources])
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


@pytest.mark.parametrize("batch_dice", [False, True])
def test_fully_annotated_source_equals_nnunet_loss_of_regions(batch_dice):
    annotation = replace(
        ANNOTATION, sources=(Source("ALL", CLASSES[:5]),), merged_labels=(), possible_parents={}, classes=CLASSES[:5],
        values=ANNOTATION.values[:5], regions=ANNOTATION.regions[:5],
    )  # fmt: skip
    logits, label_map, _ = make_batch([LITS, ORGANS], num_classes=5)
    host = DC_and_BCE_loss(
        {}, {"batch_dice": batch_dice, "do_bg": True, "smooth": 1e-5, "ddp": False}, dice_class=MemoryEfficientSoftDiceLoss
    )
    one_hot = torch.cat([torch.isin(label_map, torch.tensor(region)) for region in annotation.regions], 1).float()
    expected = host(logits, one_hot)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    value, gradient = loss_and_gradient(
        PartialLabelLoss(annotation, batch_dice=batch_dice), logits, label_map, torch.tensor([0, 0])
    )
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_dice", [False, True])
@settings(max_examples=15, deadline=None)
@given(
    sources=strategies.lists(strategies.sampled_from([LITS, KITS, ORGANS]), min_size=1, max_size=3),
    seed=strategies.integers(0, 99),
)
def test_unsupervised_pairs_get_no_gradient(batch_dice, sources, seed):
    logits, label_map, indices = make_batch(sources, seed)
    _, gradient = loss_and_gradient(PartialLabelLoss(ANNOTATION, batch_dice=batch_dice), logits, label_map, indices)
    union = len(CLASSES)
    for sample, source in enumerate(sources):
        states = torch.from_numpy(ANNOTATION.tables[source])[label_map[sample, 0].long()].movedim(-1, 0)
        silent = states[: len(CLASSES)] == UNSUPERVISED
        union_speaks = states[union] != UNSUPERVISED
        for name in ("right_kidney", "left_kidney"):  # a union teaches its classes together
            silent[CLASSES.index(name)] &= ~union_speaks
        assert (gradient[sample][silent] == 0).all()
        assert (gradient[sample][states[: len(CLASSES)] == NEGATIVE] != 0).any()


def test_permuting_samples_changes_nothing():
    logits, label_map, sources = make_batch([LITS, KITS, ORGANS])
    loss = PartialLabelLoss(ANNOTATION)
    order = torch.tensor([2, 0, 1])
    assert loss(logits, [label_map, sources]).item() == pytest.approx(
        loss(logits[order], [label_map[order], sources[order]]).item(), abs=1e-6
    )


def test_unannotated_class_changes_nothing_for_the_others():
    logits, label_map, sources = make_batch([LITS, ORGANS])
    extended = replace(
        ANNOTATION, classes=(*CLASSES, "pancreas"), values=(*ANNOTATION.values, 8), regions=(*ANNOTATION.regions, (8,))
    )
    more = torch.cat([logits, torch.randn(2, 1, *SHAPE)], 1)
    _, gradient = loss_and_gradient(PartialLabelLoss(ANNOTATION), logits, label_map, sources)
    value = PartialLabelLoss(extended)(more, [label_map, sources])
    (more_gradient,) = torch.autograd.grad(value, more)
    torch.testing.assert_close(more_gradient[:, : len(CLASSES)], gradient, atol=1e-7, rtol=1e-5)
    background = label_map[:, 0] == 0
    assert (more_gradient[:, -1][background] == 0).all()  # nobody looked for it there
    assert (more_gradient[:, -1][~background] > 0).all()  # a liver or kidney voxel is no pancreas


def test_merged_label_does_not_care_which_side_is_predicted():
    logits, label_map, sources = make_batch([KITS, KITS])
    swapped = logits[:, [0, 2, 1, 3, 4, 5]]
    loss = PartialLabelLoss(ANNOTATION)
    assert loss(logits, [label_map, sources]).item() == pytest.approx(loss(swapped, [label_map, sources]).item(), abs=1e-6)


def test_merged_label_teaches_its_classes_together():
    logits = torch.zeros(1, len(CLASSES), *SHAPE, requires_grad=True)
    label_map = torch.full((1, 1, *SHAPE), 7, dtype=torch.int16)
    _, gradient = loss_and_gradient(PartialLabelLoss(ANNOTATION), logits, label_map, torch.tensor([KITS]))
    assert (gradient[0, [1, 2]] < 0).all()
    torch.testing.assert_close(gradient[0, 1], gradient[0, 2])


def test_hand_computed_value():
    """Two voxels of the LITS source, liver and background, logits 0: every probability is 1/2."""
    logits = torch.zeros(1, len(CLASSES), 1, 1, 2)
    label_map = torch.tensor([1, 0], dtype=torch.int16).view(1, 1, 1, 1, 2)
    value = PartialLabelLoss(ANNOTATION)(logits, [label_map, torch.tensor([LITS])])
    # BCE: 4 annotated pairs (liver, liver tumor at 2 voxels) + 3 negatives of other organs at the liver voxel
    # (kidneys and spleen; the tumor of a kidney is excluded too: 4), each log 2, over the 4 annotated pairs
    negatives_of_others = 4
    bce = (4 + negatives_of_others) * torch.log(torch.tensor(2.0)) / 4
    smooth = 1e-5
    dice = ((2 * 0.5 + smooth) / (1 + 1 + smooth) + smooth / (1 + smooth)) / 2
    assert value.item() == pytest.approx((bce - dice).item(), abs=1e-6)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_nothing_supervised_is_zero_with_finite_gradients(batch_dice):
    annotation = replace(ANNOTATION, ignore_value=8)
    logits, _, sources = make_batch([LITS, KITS])
    ignored = torch.full((2, 1, *SHAPE), 8, dtype=torch.int16)
    value, gradient = loss_and_gradient(PartialLabelLoss(annotation, batch_dice=batch_dice), logits, ignored, sources)
    assert value.item() == 0
    assert (gradient == 0).all()


def test_half_precision_logits_give_finite_loss_at_extremes():
    logits, label_map, sources = make_batch([LITS, KITS, ORGANS])
    extreme = (logits.detach() * 1e4).half().requires_grad_()
    value, gradient = loss_and_gradient(PartialLabelLoss(ANNOTATION, batch_dice=True), extreme, label_map, sources)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


def test_false_voxels_in_a_patch_without_the_class_count_in_the_dice_of_a_batch_only():
    annotation = replace(
        ANNOTATION, sources=(Source("ALL", CLASSES[:1]),), merged_labels=(), possible_parents={}, classes=CLASSES[:1],
        values=ANNOTATION.values[:1], regions=ANNOTATION.regions[:1],
    )  # fmt: skip
    label_map = torch.zeros(2, 1, *SHAPE, dtype=torch.int16)
    label_map[0, 0, 0] = annotation.values[0]
    logits = torch.where(label_map > 0, 3.0, -6.0)
    logits[1, 0, 0] = 3.0  # a false organ
    logits.requires_grad_()
    of_dice = []
    for batch_dice in (False, True):
        loss, sources = PartialLabelLoss(annotation, batch_dice=batch_dice), torch.tensor([0, 0])
        _, gradient = loss_and_gradient(loss, logits, label_map, sources)
        bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, (label_map > 0).float())
        of_dice.append((gradient - torch.autograd.grad(bce, logits)[0])[1, 0, 0].mean().item())
    assert abs(of_dice[0]) < 1e-6 < 1e-4 < of_dice[1]


@pytest.mark.parametrize("batch_dice", [False, True])
def test_gradcheck_in_double(batch_dice):
    logits, label_map, sources = make_batch([KITS, ORGANS], dtype=torch.float64)
    loss = PartialLabelLoss(ANNOTATION, batch_dice=batch_dice)
    logits = logits[..., :2, :2, :2].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, [label_map[..., :2, :2, :2], sources]), logits)


def test_deep_supervision_weighs_each_output():
    logits, label_map, sources = make_batch([LITS, KITS])
    coarse, coarse_map = logits[..., ::2, ::2, ::2], label_map[..., ::2, ::2, ::2]
    single = PartialLabelLoss(ANNOTATION)
    weighted = PartialLabelLoss(ANNOTATION, weights=(0.75, 0.25))([logits, coarse], [label_map, coarse_map, sources])
    expected = 0.75 * single(logits, [label_map, sources]) + 0.25 * single(coarse, [coarse_map, sources])
    assert weighted.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_loss_has_the_value_and_gradient_of_the_plain_one(backend):
    logits, label_map, sources = make_batch([LITS, KITS, ORGANS])
    loss = PartialLabelLoss(ANNOTATION, batch_dice=True)
    value, gradient = loss_and_gradient(loss, logits, label_map, sources)
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    compiled_value, compiled_gradient = loss_and_gradient(compiled, logits, label_map, sources)
    assert compiled_value.item() == pytest.approx(value.item(), abs=1e-6)
    torch.testing.assert_close(compiled_gradient, gradient, atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_dice", [False, True])
@settings(max_examples=10, deadline=None)
@given(order=strategies.permutations([LITS, KITS, ORGANS, KITS]), seed=strategies.integers(0, 99))
def test_each_sample_learns_the_same_wherever_it_stands_in_the_batch(batch_dice, order, seed):
    logits, label_map, sources = make_batch(order, seed)
    loss = PartialLabelLoss(ANNOTATION, batch_dice=batch_dice)
    value, gradient = loss_and_gradient(loss, logits, label_map, sources)
    turned = torch.tensor([3, 0, 2, 1])
    other, turned_gradient = loss_and_gradient(loss, logits.detach()[turned].requires_grad_(), label_map[turned], sources[turned])
    assert other.item() == pytest.approx(value.item(), abs=1e-5)
    torch.testing.assert_close(turned_gradient, gradient[turned], atol=1e-6, rtol=1e-4)


def test_stored_value_that_nothing_declares_is_an_error():
    logits, label_map, sources = make_batch([LITS, KITS])
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        PartialLabelLoss(ANNOTATION)(logits, [label_map + 5, sources])


def test_guide_counts_with_its_weight_at_its_own_size():
    loss, guided = PartialLabelLoss(ANNOTATION), PartialLabelLoss(ANNOTATION, guide_weight=0.5)
    logits, label_map, indices = make_batch([LITS, KITS])
    target = [label_map, indices]
    alone = loss(logits, target)
    assert guided(logits, target) == alone
    torch.testing.assert_close(guided([logits, logits, logits], target), 1.5 * alone)
    coarse = torch.zeros(2, len(CLASSES), 1, 1, 2)
    middles = label_map[..., 1:2, 2:3, 1::2]  # of (3, 5, 4) voxels; of two, the upper one
    expected = alone + 0.5 * loss(coarse, [middles, indices])
    torch.testing.assert_close(guided([logits, coarse], target), expected)
    with pytest.raises(ValueError):
        guided([logits], [label_map, label_map, indices])  # a label map without logits
