"""Learner and losses: tokens are the ViT's, hidden patches are hidden, losses and spread are those computed by hand."""

import math

import pytest
import torch
from builders.pretraining import ENCODER, TINY
from torch import nn

from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.pretraining.learning import KOLEO_WEIGHT, Learner, Teaching, spread


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return SliceEncoder(ENCODER, num_maps=1, model_kwargs=TINY).vit


@pytest.fixture
def learner(vit):
    return Learner(vit, 32, 16)


@pytest.fixture
def large():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def some_mask():
    mask = torch.zeros(4, 4, 4, dtype=torch.bool)
    mask[1, 0, 2] = mask[1, 3, 3] = mask[2, 1, 0] = True
    return mask


def test_tokens_are_those_of_the_vit(learner, vit, large):
    tokens = learner(large, None, some_mask(), hide=False)[2]
    torch.testing.assert_close(tokens, vit.forward_features(large))


def test_hidden_patches_are_not_seen(learner, large):
    changed = large.clone()
    changed[1, :, :16, 32:48] += 5  # patch (0, 2) of view 1
    hidden, seen = (learner(large, None, some_mask(), hide=hide)[2] for hide in (True, False))
    hidden_changed, seen_changed = (learner(changed, None, some_mask(), hide=hide)[2] for hide in (True, False))
    torch.testing.assert_close(hidden, hidden_changed)
    assert (seen - seen_changed)[1].abs().max() > 1e-3
    torch.testing.assert_close(hidden[[0, 3]], seen[[0, 3]])  # nothing is masked in these


def test_patch_logits_are_those_of_the_masked_patches_in_their_order(learner, large):
    _, patches, tokens = learner(large, None, some_mask(), hide=False)
    expected = learner.patch_head(torch.stack([tokens[1, 1 + 2], tokens[1, 1 + 15], tokens[2, 1 + 4]]))
    torch.testing.assert_close(patches, expected)


def test_small_views_come_after_the_large_ones(learner, large):
    small = large[:2, :, :32, :32]
    classes = learner(large, small, some_mask(), hide=False)[0]
    assert classes.shape == (6, 16)
    torch.testing.assert_close(classes[4:], learner.class_head(learner.backbone.encode(small)[:, 0]))


def test_registers_are_no_patches():
    vit = SliceEncoder("vit_small_patch14_reg4_dinov2.lvd142m", num_maps=1, model_kwargs=TINY).vit
    learner, images = Learner(vit, 32, 8), torch.randn(4, 3, 56, 56)
    tokens = learner(images, None, some_mask(), hide=False)[2]
    all_tokens = vit.forward_features(images)
    torch.testing.assert_close(tokens, torch.cat([all_tokens[:, :1], all_tokens[:, 5:]], 1))


def logits(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_losses_are_those_computed_by_hand():
    """One prototype is sure for the teacher, so a cross-entropy is the student's own: 0.1 its temperature."""
    sure = 1000.0
    teacher = logits([sure, 0], [sure, 0], [sure, 0], [sure, 0])  # both views of two slices say prototype 0
    student = torch.zeros(6, 2)  # two large and one small view: log 2 each
    student[4:] = logits([0.1, 0], [0.1, 0])  # small views: 1 and 0 after the temperature
    mask = torch.zeros(4, 1, 2, dtype=torch.bool)
    mask[0, 0] = True  # two patches of view 0
    mask[3, 0, 1] = True
    patches = logits([0, 0], [0.1, 0], [0.2, 0])
    tokens = torch.zeros(4, 3, 2)
    tokens[:, 0] = logits([1, 0], [0, 1], [1, 0], [-1, 0])  # distances of neighbours: sqrt 2 in view 1, 2 in view 2
    losses = Teaching(2)((student, patches, tokens), (teacher, logits([sure, 0], [sure, 0], [sure, 0]), tokens), mask, 0.05)
    small = math.log(1 + math.exp(-1))
    dino = (2 * math.log(2) + 2 * small) / 4  # each large view is told by the other one, the small one by both
    ibot = ((math.log(2) + small) / 2 + math.log(1 + math.exp(-2))) / 4
    koleo = -math.log(math.sqrt(2)) - math.log(2)
    assert losses["dino"].item() == pytest.approx(dino, abs=1e-5)
    assert losses["ibot"].item() == pytest.approx(ibot, abs=1e-5)
    assert losses["koleo"].item() == pytest.approx(koleo, abs=1e-5)
    assert losses["loss"].item() == pytest.approx(dino + ibot + KOLEO_WEIGHT * koleo, abs=1e-5)


def test_spread_of_equal_embeddings_is_0_and_of_opposite_ones_1():
    assert spread(torch.tensor([[2.0, 0.0], [5.0, 0.0]])).item() == pytest.approx(0, abs=1e-3)
    assert spread(torch.tensor([[2.0, 0.0], [-5.0, 0.0]])).item() == pytest.approx(1)
    # (1, 0) and (0, 1): their mean has the square 1 / 2
    assert spread(torch.tensor([[[3.0, 0.0]], [[0.0, 4.0]]])).item() == pytest.approx(math.sqrt(0.5))


def test_centers_begin_where_the_first_answers_are():
    teaching = Teaching(2)
    teaching.begin((logits([1, 0], [2, 0], [3, 4], [6, 0]), logits([1, 5], [3, 7]), torch.empty(0)), 2)
    assert teaching.dino.center.flatten().tolist() == [3, 1] and teaching.ibot.center.value.flatten().tolist() == [2, 6]
    teaching.dino.update_center(logits([13, 1])[None])  # from there on they move by a tenth
    assert teaching.dino.center.flatten().tolist() == pytest.approx([4, 1])


def test_information_is_what_the_answers_tell_of_the_views():
    teaching = Teaching(3)
    one, other = [1000.0, 0, 0], [0, 1000.0, 0]
    assert teaching.information(logits(one, other), 0.04).item() == pytest.approx(1)  # log 2, of 2 views
    assert teaching.information(logits(one, one), 0.04).item() == pytest.approx(0, abs=1e-6)  # one prototype alone
    assert teaching.information(logits([1, 1, 1], [1, 1, 1]), 0.04).item() == pytest.approx(0, abs=1e-6)  # all alike
    # two of four views say other prototypes: log 2 of the most, log 3, that three prototypes can tell
    found = teaching.information(logits(one, one, other, other), 0.04).item()
    assert found == pytest.approx(math.log(2) / math.log(3))
    teaching.dino.center[:] = torch.tensor([5000.0, 0, 0])  # of what is always said: answers (0, 1/2, 1/2) and (0, 1, 0) are left
    of_mean = -(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))
    found = teaching.information(logits(one, other), 0.04).item()
    assert found == pytest.approx((of_mean - math.log(2) / 2) / math.log(2))


def test_prototypes_are_the_last_layers_alone(learner):
    shapes = {tuple(each.shape) for each in learner.last_layers()}
    assert shapes == {(16, 1), (16, 256)} and len(learner.last_layers()) == 4
    assert all(isinstance(each, nn.Parameter) for each in learner.last_layers())
