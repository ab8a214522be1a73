"""PaperCDPDNet as nnU-Net builds it: from JSON plans, with its own requirements, compiled without graph breaks."""

import json

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_cdpd.network.paper_preset import (
    KW_REQUIRES_IMPORT,
    PAPER_CLASSES,
    PAPER_NETWORK_CLASS_NAME,
    PAPER_TASKS,
    paper_arch_kwargs,
)

TINY_VIT = {"model_name": "vit_tiny_patch16_224", "model_kwargs": {"embed_dim": 24, "depth": 4, "num_heads": 2}}
PATCH = (28, 32, 64)


def make_network(**changes):
    """The preset through plans, narrow, and with less pooling of the first axis so that 28 slices do."""
    kwargs = json.loads(json.dumps(paper_arch_kwargs()))
    kwargs["features_per_stage"] = [4, 4, 8, 8, 12, 12]
    kwargs["strides"] = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]]
    kwargs["vision"] = {**kwargs["vision"], **TINY_VIT}
    kwargs["patch_size"] = list(PATCH)
    torch.manual_seed(0)
    return get_network_from_plans(
        PAPER_NETWORK_CLASS_NAME, {**kwargs, **changes}, KW_REQUIRES_IMPORT, 1, PAPER_CLASSES, deep_supervision=False
    )


def test_preset_is_built_from_plans_and_gives_every_sample_its_task():
    # in double precision: instance norm over the few voxels of the bottleneck enlarges rounding
    network, x = make_network().double().eval(), torch.rand(2, 1, *PATCH, dtype=torch.double)
    tasks = torch.tensor([0, PAPER_TASKS - 1])
    together = network(x, tasks)
    assert together.shape == (2, PAPER_CLASSES, *PATCH)
    alone = torch.cat([network(x[i : i + 1], tasks[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(together, network(x, tasks.flip(0)))


def test_paper_has_no_universal_task():
    with pytest.raises(ValueError, match=r"no universal task; give every sample its task, 0 \.\.\. 10"):
        make_network()(torch.rand(1, 1, *PATCH))


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


def test_no_graph_break_in_forward():
    torch._dynamo.reset()
    report = torch._dynamo.explain(make_network())(torch.rand(1, 1, *PATCH), torch.tensor([2]))
    assert report.graph_break_count == 0, report.break_reasons
