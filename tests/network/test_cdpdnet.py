"""CDPDNet as a whole: shapes, tasks, frozen encoder, initialisation, state, memory estimate."""

import copy
import subprocess
import sys

import pytest
import torch
from builders.model import give_effect
from builders.network import CONFIGURATIONS, TASKS, TINY_VIT, K, make_network, patch_for

from nnunetv2_cdpd.network import default_fused_stages, default_slice_step


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_logits_have_the_size_of_the_patch(configuration):
    network, x = make_network(configuration), patch_for(configuration)
    assert network(x).shape == (2, K, *x.shape[2:])


@pytest.mark.parametrize("configuration", ["3d", "anisotropic", "2d"])
def test_deep_supervision_gives_logits_of_every_decoder_stage_finest_first(configuration):
    network, x = make_network(configuration), patch_for(configuration)
    network.decoder.deep_supervision = True
    size, expected = torch.tensor(x.shape[2:]), []
    for stride in CONFIGURATIONS[configuration][1][:-1]:
        size = size // torch.tensor(stride)
        expected.append((2, K, *size.tolist()))
    assert [tuple(logits.shape) for logits in network(x)] == expected


@pytest.mark.parametrize("num_classes", [1, 200])
def test_any_number_of_classes(num_classes):
    assert make_network(num_classes=num_classes)(patch_for(batch=1)).shape[1] == num_classes


def test_mixed_tasks_equal_each_sample_alone():
    network, x = give_effect(make_network()).eval(), patch_for(batch=3)
    tasks = torch.tensor([2, 0, 1])
    together = network(x, tasks)
    alone = torch.cat([network(x[i : i + 1], tasks[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(network(x, tasks.roll(1)), together, atol=1e-4)


def test_no_task_is_the_universal_task():
    network, x = make_network().eval(), patch_for()
    assert torch.equal(network(x), network(x, torch.tensor([2, 2])))


def test_one_task_stands_for_the_whole_batch():
    network, x = make_network().eval(), patch_for(batch=3)
    expected = network(x, torch.tensor([1, 1, 1]))
    assert torch.equal(network(x, torch.tensor(1)), expected)
    assert torch.equal(network(x, torch.tensor([1], dtype=torch.int32)), expected)


def test_wrong_number_of_tasks_is_refused():
    with pytest.raises(ValueError, match=r"one task per sample, or one for all: got \(2,\) for a batch of 3"):
        make_network()(patch_for(batch=3), torch.tensor([0, 1]))


def test_a_task_that_the_network_does_not_have_is_no_other_one():
    network = make_network().eval()
    with pytest.raises(RuntimeError, match="index 3 is out of bounds"):
        network(patch_for(), torch.tensor([0, network.num_tasks]))


def test_network_without_universal_task_needs_tasks():
    network, x = make_network(task={"prompts": TASKS, "universal": False}), patch_for()
    with pytest.raises(ValueError, match=r"no universal task; give every sample its task, 0 \.\.\. 2"):
        network(x)
    assert network(x, torch.tensor([0, 2])).shape[1] == K


@pytest.mark.parametrize("fused", [[2, 1], [1, 1], [4], [-1]])
def test_stages_that_cannot_be_fused_are_refused(fused):
    with pytest.raises(ValueError, match=r"fused stages must be of 0 \.\.\. 3, ascending, got"):
        make_network(fused_stages=fused)


def test_no_fused_stage_builds_no_vision_encoder():
    network = make_network(fused_stages=[])
    assert network.slice_encoder is None and network(patch_for()).shape[1] == K


def test_bottleneck_can_be_fused_too():
    assert make_network(fused_stages=[3])(patch_for()).shape[1] == K


def test_more_intensity_windows_than_channels_are_refused():
    with pytest.raises(ValueError, match="got 2 for 1 channels"):
        make_network(vision={**TINY_VIT, "slice_axis": 0, "slice_step": 1, "intensity_windows": [[0, 1]] * 2})


@pytest.mark.parametrize("slice_axis", [1, 2])
def test_slices_along_another_axis(slice_axis):
    vision = {**TINY_VIT, "slice_axis": slice_axis, "slice_step": 4, "intensity_windows": [[-1.0, 1.0]]}
    assert make_network(vision=vision)(patch_for()).shape[1] == K


@pytest.mark.parametrize("num_tasks", [1, 51])
def test_any_number_of_tasks(num_tasks):
    network = make_network(task={"prompts": ["t"] * num_tasks, "universal": True})
    assert network(patch_for(), torch.tensor([0, num_tasks - 1])).shape[1] == K


def test_patch_need_not_be_a_multiple_of_the_window():
    """Stages of 5, 7 and 10 voxels, in windows of 3."""
    x = torch.randn(1, 1, 40, 56, 40, generator=torch.Generator().manual_seed(3))
    assert make_network(patch_size=[40, 56, 40])(x).shape == (1, K, 40, 56, 40)


def test_importing_the_network_imports_neither_timm_nor_open_clip():
    code = "import sys, nnunetv2_cdpd.network; print([name for name in ('timm', 'open_clip') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_initialize_and_training_step_leave_the_vision_encoder_as_it_was():
    network = make_network()
    before = copy.deepcopy(network.slice_encoder.state_dict())
    network.apply(network.initialize)
    network.train()
    assert not network.slice_encoder.vit.training
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
    network(patch_for()).square().mean().backward()
    optimizer.step()
    after = network.slice_encoder.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(parameter.grad is None for parameter in network.slice_encoder.parameters())


def test_every_trained_parameter_gets_a_gradient():
    """DDP refuses a network with parameters that take no part in the loss."""
    network = give_effect(
        make_network(text={"encoder": "learned", "embed_dim": 16, "class_prompts": ["c"] * K, "modulate": True})
    )
    network.decoder.deep_supervision = True
    sum(logits.square().mean() for logits in network(patch_for())).backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_initialize_is_he_for_the_unet_and_leaves_attention_alone():
    network = make_network()
    attention = copy.deepcopy(network.fusions.state_dict())
    network.apply(network.initialize)
    assert all(torch.equal(attention[key], value) for key, value in network.fusions.state_dict().items())
    convolution = network.encoder.stages[1][0].convs[0].conv
    assert convolution.weight.std().item() == pytest.approx((2 / (1 + 1e-4) / convolution.weight[0].numel()) ** 0.5, rel=0.1)
    assert (convolution.bias == 0).all()


def test_state_dict_round_trip_gives_the_same_logits_and_flags():
    source, x = give_effect(make_network(seed=1)).eval(), patch_for()
    source.set_text_embeddings(torch.randn(K, 16), torch.randn(len(TASKS), 16))
    source.slice_encoder.weights_set.fill_(True)
    target = make_network(seed=2).eval()
    assert not target.text_embeddings_set and not target.slice_encoder.weights_set
    target.load_state_dict(source.state_dict())
    assert target.text_embeddings_set and target.slice_encoder.weights_set
    assert torch.equal(source(x), target(x))


def test_decoder_does_not_hold_the_encoder_a_second_time():
    assert not [key for key in make_network().state_dict() if key.startswith("decoder.encoder")]


@pytest.mark.parametrize("change", [{"vision": None}, {"task": None}])
def test_ablations_work(change):
    network, x = make_network(**change), patch_for()
    assert network(x).shape == (2, K, *x.shape[2:])


def test_without_text_modulation_only_tasks_hold_text():
    text = {"encoder": "ViT-B-32/openai", "embed_dim": 16, "class_prompts": ["c"] * K, "modulate": False}
    network = make_network(text=text)
    assert not [key for key in network.state_dict() if key.startswith(("class_text", "modulations"))]
    assert network(patch_for()).shape[1] == K


def test_cascade_channels_do_not_reach_the_vision_encoder():
    network = make_network()
    x = patch_for()
    extended = torch.cat([x, torch.ones_like(x)], 1)
    for plain, more in zip(network.slice_encoder(x), network.slice_encoder(extended)):
        assert torch.equal(plain, more)


def test_prompts_must_match_the_classes():
    with pytest.raises(ValueError, match="got 4 prompts for 5 classes"):
        make_network(text={"encoder": "learned", "embed_dim": 16, "class_prompts": ["c"] * 4, "modulate": True})


def test_embeddings_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 16\).*\(4, 16\)"):
        make_network().set_text_embeddings(torch.zeros(4, 16), torch.zeros(3, 16))


@pytest.mark.parametrize(
    "strides, fused, step",
    [
        ([[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2]], [2, 3, 4], 2),  # the paper's
        ([[1, 1, 1], [2, 2, 2], [2, 2, 2]], [1], 2),
        ([[1, 1], [2, 2], [2, 2], [2, 2]], [1, 2], 1),
    ],
)
def test_default_fused_stages_and_slice_step(strides, fused, step):
    assert default_fused_stages(strides) == fused
    assert default_slice_step(strides, fused, 0) == step


def test_bfloat16_autocast_is_finite_and_close():
    network, x = give_effect(make_network()).eval(), patch_for()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = network(x)
    assert torch.isfinite(reduced).all()
    torch.testing.assert_close(reduced.float(), network(x), atol=0.15, rtol=0.1)


def test_gradcheck_in_double():
    network = give_effect(make_network("2d", num_classes=1)).double()
    x = patch_for("2d", batch=1).double()
    weight, bias = network.fusions["1"].blocks[1].position_bias, network.task_text.project[0].bias

    def logits_at(weight, bias):
        replaced = {"fusions.1.blocks.1.position_bias": weight, "task_text.project.0.bias": bias}
        return torch.func.functional_call(network, replaced, (x,))[..., ::9, ::13]

    inputs = [parameter.detach().clone().requires_grad_() for parameter in (weight, bias)]
    assert torch.autograd.gradcheck(logits_at, inputs, fast_mode=True, nondet_tol=1e-9)
