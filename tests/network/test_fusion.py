"""Fusion as plans choose it: who asks, what is added, and what the gate lets through at first."""

import pytest
import torch
from builders.network import K, make_network, patch_for

from nnunetv2_cdpd.network.cross_attention import WindowedCrossAttention
from nnunetv2_cdpd.network.fusion import ASKING, GatedFusion, TokenSum, make_fusion
from nnunetv2_cdpd.network.vision_settings import FUSIONS, GATES, VisionSettings

C, SIZE = 8, (3, 4, 5)


def stage(seed):
    return torch.randn(2, C, *SIZE, generator=torch.Generator().manual_seed(seed))


def one_block(tokens_ask):
    """A fusion of one block without MLP."""
    torch.manual_seed(0)
    fusion = WindowedCrossAttention(C, 3, (tokens_ask,), zero=False)
    for parameter in fusion.blocks[0].mlp[-1].parameters():
        torch.nn.init.zeros_(parameter)
    fusion.norm = torch.nn.Identity()
    return fusion


def answer(block, row):
    """What attention gives where every voxel that is asked holds the same features (C,): their value, whatever was asked."""
    value = block.key_value(block.norm1(row))[C:]
    return block.project(value)


def test_tokens_that_answer_give_their_values_whatever_is_asked():
    fusion, row = one_block(tokens_ask=False), torch.arange(float(C))
    tokens = row.view(1, C, 1, 1, 1).expand(2, C, *SIZE)
    for x in (stage(1), stage(2)):
        added = fusion(x, tokens) - x
        torch.testing.assert_close(added, answer(fusion.blocks[0], row).view(1, C, 1, 1, 1).expand_as(x), atol=1e-5, rtol=1e-5)


def test_features_that_answer_give_theirs_whatever_tokens_ask():
    fusion, row = one_block(tokens_ask=True), torch.arange(float(C))
    x = row.view(1, C, 1, 1, 1).expand(2, C, *SIZE)
    for tokens in (stage(1), stage(2)):
        added = fusion(x, tokens) - x
        torch.testing.assert_close(added, answer(fusion.blocks[0], row).view(1, C, 1, 1, 1).expand_as(x), atol=1e-5, rtol=1e-5)


def test_both_asks_once_each_way_with_the_weights_of_either():
    fusions = {kind: make_fusion(C, 3, kind, "blocks") for kind in ASKING}
    assert [block.tokens_ask for block in fusions["both"].blocks] == [True, False]
    shapes = {kind: {key: value.shape for key, value in fusion.state_dict().items()} for kind, fusion in fusions.items()}
    assert shapes["both"] == shapes["queries"] == shapes["values"]


def test_sum_adds_a_linear_layer_of_the_tokens():
    fusion, x, y = TokenSum(C, zero=True), stage(1), stage(2)
    assert torch.equal(fusion(x, y), x)
    with torch.no_grad():
        fusion.project.weight.copy_(2 * torch.eye(C))
        fusion.project.bias.fill_(1)
    torch.testing.assert_close(fusion(x, y), x + 2 * y + 1)


@pytest.mark.parametrize("kind", FUSIONS)
def test_closed_gate_leaves_the_features_alone_and_opens_by_its_scale(kind):
    torch.manual_seed(0)
    fusion, x, y = make_fusion(C, 3, kind, "closed"), stage(1), stage(2)
    assert isinstance(fusion, GatedFusion) and torch.equal(fusion(x, y), x)
    fusion(x, y).square().sum().backward()
    assert (fusion.scale.grad != 0).any()
    torch.nn.init.ones_(fusion.scale)
    torch.testing.assert_close(fusion(x, y), fusion.fusion(x, y))
    assert not torch.allclose(fusion(x, y), x)


@pytest.mark.parametrize("kind", FUSIONS)
def test_gate_of_blocks_starts_at_zero_and_an_open_one_does_not(kind):
    x, y = stage(1), stage(2)
    closed, opened = (make_fusion(C, 3, kind, gate) for gate in ("blocks", "open"))
    normed = x if kind == "sum" else torch.nn.functional.layer_norm(x.movedim(1, -1), (C,)).movedim(-1, 1)
    torch.testing.assert_close(closed(x, y), normed)
    assert not torch.allclose(opened(x, y), normed, atol=1e-3)


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_fusion_trains(kind):
    torch.manual_seed(0)
    fusion = make_fusion(C, 2, kind, "open")
    fusion(stage(1)[..., 0], stage(2)[..., 0]).square().mean().backward()
    assert all(parameter.grad is not None for parameter in fusion.parameters())


def test_network_behind_a_closed_gate_is_its_unet():
    vision = {"gate": "closed", "fusion": "values"}
    network = make_network(vision={**make_vision(), **vision}).eval()
    plain = make_network(vision=None).eval()
    plain.load_state_dict({key: value for key, value in network.state_dict().items() if key in plain.state_dict()})
    x = patch_for()
    assert torch.equal(network(x), plain(x)) and network(x).shape[1] == K


def make_vision():
    from builders.network import TINY_VIT

    return {**TINY_VIT, "slice_axis": 0, "slice_step": 2, "intensity_windows": [[-1.0, 1.0]]}


def test_settings_at_their_defaults_are_the_network_without_them():
    defaults = {"source": "vit", "fusion": "queries", "gate": "blocks", "token_dropout": 0.0}
    entries = {**defaults, "blocks": None, "slice_scale": None, "channels": "gray"}
    plain, said = make_network(vision=make_vision()), make_network(vision={**make_vision(), **entries})
    state = said.state_dict()
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    x = patch_for()
    assert torch.equal(plain.eval()(x), said.eval()(x))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"fusion": "keys"}, "`fusion` is one of queries, values, both, sum, got 'keys'"),
        ({"gate": 0}, "`gate` is one of blocks, closed, open, got 0"),
        ({"source": "none"}, "`source` is one of vit, coordinates, got 'none'"),
        ({"token_dropout": 1.0}, "share from 0 to below 1, got 1.0"),
    ],
)
def test_settings_that_are_none_are_refused(setting, told):
    with pytest.raises(ValueError, match=told):
        VisionSettings(**setting)


def test_dropped_tokens_are_zero_in_training_only_and_at_the_same_places_of_all_stages():
    network = make_network(vision={**make_vision(), "token_dropout": 0.25})
    torch.manual_seed(0)
    grids = [torch.full((2, 24, 8, 10, 10), value) for value in (1.0, 3.0)]
    one, other = network.train().some_dropped(grids)
    assert set(one.unique().tolist()) == {0, 1} and torch.equal(3 * one, other)
    assert torch.equal(one, one[:, :1].expand_as(one))  # a token as a whole
    assert 0.2 < (one == 0).float().mean() < 0.3
    assert network.eval().some_dropped(grids) is grids


def test_gates_are_all_that_plans_may_say():
    assert GATES == ("blocks", "closed", "open")
