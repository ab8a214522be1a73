"""PredictionNetwork of an extended network: what is read out after the windows, chosen classes, compiled steps."""

import torch
from builders.extended_network import extended, settings
from builders.network import patch_for

from nnunetv2_cdpd.inference.network import PredictionNetwork, TaskClasses

APART = {"apart": [0, 3], "within": [], "holds": []}


def many_classes():
    """Twelve classes of which eight features are the basis, so that heads come after the windows, and one in their midst."""
    network, former = extended(extensions=[settings([4], 4, [APART])], own=12)
    torch.nn.init.normal_(network.all_extensions[0].decoder.seg_layers[-1].weight, std=3)
    return network, former


def read_out(networks, x):
    """Logits of several networks of one kind, as a prediction makes them."""
    runner = PredictionNetwork(networks[0])
    readout = runner.readout([network.state_dict() for network in networks])
    values = []
    for network in networks:
        runner = PredictionNetwork(network)
        runner.features_only = readout is not None
        values.append(runner(x)[0] / len(networks))
    return readout, readout(torch.cat(values))


def test_former_logits_are_the_same_bit_by_bit_where_heads_come_after_the_windows():
    network, former = many_classes()
    x = patch_for(batch=1)
    with torch.inference_mode():
        (readout, logits), (_, before), whole = read_out([network], x), read_out([former], x), network(x)[0]
    assert readout.beside is not None
    assert torch.equal(logits[[0, 1, 2, 3, *range(5, 13)]], before)
    assert torch.equal(logits[4], whole[4])


def test_the_mean_of_two_folds_is_read_out():
    pair = [extended(extensions=[settings([4], 4, [APART])], own=20)[0] for _ in range(2)]
    for part in (pair[1].all_extensions[0].decoder, pair[1].decoder):
        torch.nn.init.normal_(part.seg_layers[-1].weight, std=2)
    x = patch_for(batch=1)
    with torch.inference_mode():
        readout, logits = read_out(pair, x)
        mean = (pair[0](x)[0] + pair[1](x)[0]) / 2
    assert readout.beside is not None
    assert torch.allclose(logits, mean, atol=1e-4)


def test_chosen_classes_are_those_of_all():
    network, _ = many_classes()
    runner, x = PredictionNetwork(network), patch_for(batch=1)
    with torch.inference_mode():
        everything = network(x)
        for classes in ((1, 4), (2, 7), (4,)):
            runner.choose([TaskClasses(None, classes)])
            assert torch.allclose(runner(x), everything[:, classes], atol=1e-5)
