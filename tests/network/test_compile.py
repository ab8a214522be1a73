"""nnUNet_compile: the whole forward pass is one graph, compiled once for training and once for evaluation."""

import pytest
import torch
from builders.compiler import CountingBackend
from builders.network import TINY_VIT, make_network, patch_for
from builders.release import tiny_network

from nnunetv2_cdpd.network.coordinates import coordinates_of_box

pytestmark = pytest.mark.usefixtures("fresh_dynamo")


@pytest.mark.parametrize(
    "configuration, training, tasks",
    [
        ("3d", True, None), ("3d", True, [0, 1]), ("3d", False, None), ("3d", False, [0, 1]),
        ("2d", True, [0, 1]), ("2d", False, None), ("residual", True, [0, 1]), ("residual", False, None),
    ],
)  # fmt: skip
def test_no_graph_break_in_forward(configuration, training, tasks):
    network = make_network(configuration).train(training)
    network.decoder.deep_supervision = training
    task = None if tasks is None else torch.tensor(tasks)
    report = torch._dynamo.explain(network)(patch_for(configuration), task)
    assert (report.graph_count, report.graph_break_count) == (1, 0), report.break_reasons


@pytest.mark.parametrize("training", [False, True])
def test_no_graph_break_where_positions_are_those_of_the_slice(training):
    vision = {**TINY_VIT, "positions": "slice", "slice_axis": 0, "slice_step": 2, "intensity_windows": [[-1.0, 1.0]]}
    network = make_network(vision=vision).train(training)
    x = patch_for()
    x = torch.cat([x, coordinates_of_box((0, 0, 0), x.shape[2:], (64, 96, 96)).expand(len(x), 3, *x.shape[2:])], 1)
    report = torch._dynamo.explain(network)(x)
    assert (report.graph_count, report.graph_break_count) == (1, 0), report.break_reasons
    torch.testing.assert_close(torch.compile(network.eval(), backend="eager")(x), network(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tasks", [None, [2, 3]], ids=["every task", "tasks"])
def test_no_graph_break_in_the_papers_network(tasks):
    network = tiny_network(patch_size=[28, 32, 64], strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]])
    x, task = torch.rand(2, 1, 28, 32, 64), None if tasks is None else torch.tensor(tasks)
    report = torch._dynamo.explain(network)(x, task)
    assert (report.graph_count, report.graph_break_count) == (1, 0), report.break_reasons


def test_one_compilation_for_training_and_one_for_evaluation():
    """As a training goes: epochs of training steps with tasks, then validation steps without."""
    network, backend = make_network(), CountingBackend()
    compiled = torch.compile(network, backend=backend)
    optimizer = torch.optim.SGD([parameter for parameter in network.parameters() if parameter.requires_grad], 1e-4)
    graphs = []
    for _ in range(3):
        network.train()
        network.decoder.deep_supervision = True
        for seed in range(2):
            optimizer.zero_grad()
            outputs = compiled(patch_for(seed=seed), task=torch.tensor([seed, 2]))
            sum(output.square().mean() for output in outputs).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            for seed in range(2):
                compiled(patch_for(seed=seed))
        graphs.append(backend.graphs)
    assert graphs == [2, 2, 2]


def test_one_compilation_for_every_window_of_a_prediction():
    network, backend = make_network().eval(), CountingBackend()
    compiled = torch.compile(network, backend=backend)
    with torch.inference_mode():
        for seed in range(4):
            expected = network(patch_for(batch=1, seed=seed))
            torch.testing.assert_close(compiled(patch_for(batch=1, seed=seed)), expected, atol=1e-5, rtol=1e-4)
    assert backend.graphs == 1
