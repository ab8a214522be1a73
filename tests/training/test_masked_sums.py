"""masked_sums: what plain autograd gives from the definition, in any precision, however the voxels are cut into chunks."""

import pytest
import torch

from nnunetv2_cdpd.annotation import NEGATIVE, POSITIVE, UNSUPERVISED
from nnunetv2_cdpd.training import masked_sums as module
from nnunetv2_cdpd.training.masked_sums import MaskedSums, masked_sums, union_logit

SHAPE = (3, 5, 4)
UNIONS = ((0, 2), (1, 2, 3))
NUM_CLASSES, NUM_VALUES = 4, 5


def by_definition(logits, label_map, tables, unions):
    p = torch.sigmoid(logits.flatten(2))
    p = torch.cat([p, *(1 - (1 - p[:, list(union)]).prod(1, keepdim=True) for union in unions)], 1)
    states = torch.stack([table[:, values.long()] for table, values in zip(tables, label_map.flatten(1))])
    supervised, positive = states != UNSUPERVISED, states == POSITIVE
    bce = -torch.where(positive, p.log(), (1 - p).log()) * supervised
    return MaskedSums(bce.sum(2), (p * positive).sum(2), (p * supervised).sum(2), supervised.sum(2), positive.sum(2))


def make_inputs(dtype=torch.float64, seed=0, batch=2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, NUM_CLASSES, *SHAPE, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    label_map = torch.randint(NUM_VALUES, (batch, 1, *SHAPE), generator=generator).to(torch.int16)
    columns = NUM_CLASSES + len(UNIONS)
    tables = torch.randint(3, (batch, columns, NUM_VALUES), generator=generator).to(torch.uint8)
    return logits, label_map, tables


def gradient_of(sums, logits):
    weights = torch.Generator().manual_seed(1)
    total = sum((part * torch.rand(part.shape, generator=weights)).sum() for part in sums[:3])
    return torch.autograd.grad(total, logits)[0]


@pytest.mark.parametrize("chunk", [1, 7 * NUM_CLASSES, 2**18])  # one voxel, seven, all of them at a time
def test_sums_and_gradients_are_those_of_the_definition(monkeypatch, chunk):
    monkeypatch.setattr(module, "CPU_CHUNK", chunk)
    inputs = make_inputs()
    sums, expected = masked_sums(*inputs, UNIONS), by_definition(*inputs, UNIONS)
    for name, value in sums._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name).double(), msg=name)
    torch.testing.assert_close(gradient_of(sums, inputs[0]), gradient_of(expected, inputs[0]))


def test_gradcheck_with_unions():
    logits, label_map, tables = make_inputs()
    small = logits[..., :2, :2, :1].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: masked_sums(x, label_map[..., :2, :2, :1], tables, UNIONS)[:3], small)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    logits, label_map, tables = make_inputs(dtype)
    sums = masked_sums(logits, label_map, tables, UNIONS)
    expected = masked_sums(logits.detach().float().requires_grad_(), label_map, tables, UNIONS)
    assert all(part.dtype == torch.float32 for part in sums)
    torch.testing.assert_close(sums.bce, expected.bce)
    assert gradient_of(sums, logits).dtype == dtype


def test_counts_have_no_gradient():
    sums = masked_sums(*make_inputs(), UNIONS)
    assert sums.bce.requires_grad and not sums.supervised.requires_grad and not sums.reference.requires_grad


LAYOUTS = {
    "one after another": lambda logits: logits.contiguous(),
    "channels last": lambda logits: logits.contiguous(memory_format=torch.channels_last_3d),
    "axes exchanged": lambda logits: logits.movedim(2, 4).contiguous().movedim(4, 2),
    "every second": lambda logits: torch.stack([logits, logits], -1)[..., 0],
    "one for all samples": lambda logits: logits[:1].expand(2, -1, -1, -1, -1),
}


@pytest.mark.parametrize("unions", [(), UNIONS], ids=["no unions", "unions"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_may_lie_in_any_way(monkeypatch, layout, unions):
    monkeypatch.setattr(module, "CPU_CHUNK", 7 * NUM_CLASSES)
    logits, label_map, tables = make_inputs()
    logits, tables = LAYOUTS[layout](logits.detach()).requires_grad_(), tables[:, : NUM_CLASSES + len(unions)]
    sums, expected = masked_sums(logits, label_map, tables, unions), by_definition(logits, label_map, tables, unions)
    for name, value in sums._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name).double(), msg=name)
    gradient = gradient_of(sums, logits)
    torch.testing.assert_close(gradient, gradient_of(expected, logits))
    if layout in ("one after another", "channels last"):
        assert gradient.stride() == logits.stride()  # so that the layer before need not copy it


def test_two_dimensional_logits():
    logits, label_map, tables = make_inputs()
    flat, values = logits[..., 0].detach().movedim(2, 3).requires_grad_(), label_map[..., 0].movedim(2, 3)
    sums, expected = masked_sums(flat, values, tables, UNIONS), by_definition(flat, values, tables, UNIONS)
    torch.testing.assert_close(sums.bce, expected.bce)
    torch.testing.assert_close(gradient_of(sums, flat), gradient_of(expected, flat))


def test_a_small_gradient_of_bce_is_not_lost_beside_a_large_one_of_dice():
    """A class of ten voxels has a Dice of steep slope; where a voxel is surely positive, only BCE still pulls."""
    logits = torch.full((1, 1, 2, 1, 1), 12.0, requires_grad=True)
    tables = torch.tensor([[[POSITIVE]]], dtype=torch.uint8)
    sums = masked_sums(logits, torch.zeros(1, 1, 2, 1, 1, dtype=torch.int16), tables, ())
    exact = logits.detach().double().requires_grad_()
    expected = by_definition(exact, torch.zeros(1, 1, 2, 1, 1, dtype=torch.int16), tables, ())
    weights = (1e-3, -0.5, 0.4)
    (gradient,) = torch.autograd.grad(sum(w * part.sum() for w, part in zip(weights, sums)), logits)
    (right,) = torch.autograd.grad(sum(w * part.sum() for w, part in zip(weights, expected)), exact)
    torch.testing.assert_close(gradient.double(), right, atol=1e-9, rtol=1e-2)


def test_nothing_supervised_gives_zeros():
    logits, label_map, tables = make_inputs()
    sums = masked_sums(logits, label_map, torch.full_like(tables, UNSUPERVISED), UNIONS)
    assert all((part == 0).all() for part in sums)
    assert (gradient_of(sums, logits) == 0).all()


def test_far_logits_of_a_union_stay_finite():
    for far in (-300.0, 300.0):
        logits = torch.full((1, NUM_CLASSES, *SHAPE), far, requires_grad=True)
        label_map, tables = torch.zeros(1, 1, *SHAPE, dtype=torch.int16), torch.full((1, 6, 1), NEGATIVE, dtype=torch.uint8)
        sums = masked_sums(logits, label_map, tables, UNIONS)
        assert all(torch.isfinite(part).all() for part in sums)
        assert torch.isfinite(gradient_of(sums, logits)).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_union_logit_is_that_of_at_least_one(count):
    logits = torch.randn(count, 7, dtype=torch.float64) * 5
    expected = 1 - (1 - torch.sigmoid(logits)).prod(0)
    torch.testing.assert_close(torch.sigmoid(union_logit(logits)), expected)
