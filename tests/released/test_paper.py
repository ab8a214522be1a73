"""PaperCDPDNet as nnU-Net builds it: from JSON plans, with its own requirements, compiled without graph breaks."""

import pydoc

import pytest
import torch
from builders.paper_network import NUM_CLASSES, NUM_TASKS, PATCH, make_network

from nnunetv2_cdpd.released.network import PaperCDPDNet
from nnunetv2_cdpd.released.preset import (
    paper_arch_kwargs,
)


def test_the_name_in_saved_plans_leads_to_the_released_network():
    assert pydoc.locate("nnunetv2_cdpd.network.PaperCDPDNet") is PaperCDPDNet
    assert type(make_network()) is PaperCDPDNet  # by nnU-Net's get_network_from_plans


def test_preset_is_built_from_plans_and_gives_every_sample_its_task():
    # in double precision: instance norm over the few voxels of the bottleneck enlarges rounding
    network, x = make_network().double().eval(), torch.rand(2, 1, *PATCH, dtype=torch.double)
    tasks = torch.tensor([0, NUM_TASKS - 1])
    together = network(x, tasks)
    assert together.shape == (2, NUM_CLASSES, *PATCH)
    alone = torch.cat([network(x[i : i + 1], tasks[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(together, network(x, tasks.flip(0)))


def test_without_a_task_every_class_is_the_mean_over_the_tasks_that_annotate_it():
    network, x = make_network().double().eval(), torch.rand(1, 1, *PATCH, dtype=torch.double)
    annotated = paper_arch_kwargs()["task"]["annotated_classes"]
    with torch.no_grad():
        together = network(x)[0]
        by_task = network(x.expand(NUM_TASKS, -1, -1, -1, -1), torch.arange(NUM_TASKS))
    for k in range(NUM_CLASSES):
        readers = [task for task, classes in enumerate(annotated) if k in classes]
        torch.testing.assert_close(together[k], by_task[readers, k].mean(0))
    assert not torch.allclose(together[5], by_task[0, 5])  # the liver, which nine tasks annotate


def test_without_a_task_what_comes_before_the_tasks_runs_once(monkeypatch):
    network = make_network().eval()
    calls = []
    network.slice_encoder.register_forward_hook(lambda *_: calls.append("slices"))
    network.encoder.stages[0].register_forward_hook(lambda *_: calls.append("encoder"))
    network.task_prompt.register_forward_hook(lambda *_: calls.append("task"))
    with torch.no_grad():
        network(torch.rand(1, 1, *PATCH))
    assert calls == ["slices", "encoder"] + ["task"] * NUM_TASKS


def test_without_a_task_deep_supervision_gives_a_list_too():
    network = make_network().eval()
    network.decoder.deep_supervision = True
    with torch.no_grad():
        assert [logits.shape[1] for logits in network(torch.rand(1, 1, *PATCH))] == [NUM_CLASSES] * 5


def test_universal_task_is_used_where_there_is_one():
    task = {"prompts": ["one", "all"], "universal": True}
    network, x = make_network(task=task).eval(), torch.rand(1, 1, *PATCH)
    assert torch.equal(network(x), network(x, torch.tensor([1])))


def test_without_a_task_and_without_knowing_who_annotates_what_tasks_are_asked_for():
    task = {"prompts": ["one", "two"], "universal": False}
    with pytest.raises(ValueError, match=r"no universal task; give every sample its task, 0 \.\.\. 1"):
        make_network(task=task)(torch.rand(1, 1, *PATCH))


@pytest.mark.parametrize(
    "annotated, told",
    [([[0, 1, 2]], "got 1 for 2 tasks"), ([[0, 1], [1]], r"no task annotates classes \[2, 3, .*cannot read them")],
)
def test_annotated_classes_must_be_complete(annotated, told):
    with pytest.raises(ValueError, match=told):
        make_network(task={"prompts": ["one", "two"], "universal": False, "annotated_classes": annotated})


def test_deep_supervision_and_a_training_step():
    network = make_network().train()
    network.decoder.deep_supervision = True
    outputs = network(torch.rand(2, 1, *PATCH), torch.tensor([3, 4]))
    assert len(outputs) == 5 and outputs[0].shape[2:] == PATCH
    sum(logits.square().mean() for logits in outputs).backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_decoder_convolutions_are_3_by_3_by_3_everywhere():
    kernels = {tuple(block.conv.kernel_size) for stage in make_network().decoder.stages for block in stage.convs}
    assert kernels == {(3, 3, 3)}


@pytest.mark.parametrize("patch", [[32, 64], [13, 32, 32]])
def test_other_patches_than_3d_with_a_whole_group_of_slices_are_refused(patch):
    with pytest.raises(ValueError, match="needs 3D patches of at least 14 slices"):
        make_network(patch_size=patch)


def test_bottleneck_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"the same channels, got \[12, 16\]"):
        make_network(features_per_stage=[4, 4, 8, 8, 12, 16])
