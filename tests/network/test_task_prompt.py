"""TaskPrompt: every sample appends the map of its own task, in 2D and 3D, for any number of tasks."""

import pytest
import torch

from nnunetv2_cdpd.network.task_prompt import TaskPrompt
from nnunetv2_cdpd.network.text_modulation import TEXT_CHANNELS, TextModulation


def run(prompt, x, task, text):
    """With what the modulation makes of the tasks' text."""
    return prompt(x, task, prompt.modulate.affine(text))


def make_prompt(channels, num_tasks, dim=3):
    torch.manual_seed(0)
    kwargs = {
        "conv_op": getattr(torch.nn, f"Conv{dim}d"), "kernel_size": [3] * dim, "conv_bias": True,
        "norm_op": getattr(torch.nn, f"InstanceNorm{dim}d"), "norm_op_kwargs": {"affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": torch.nn.LeakyReLU, "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    return TaskPrompt(channels, num_tasks, kwargs, TextModulation(num_tasks, num_tasks))


@pytest.mark.parametrize("num_tasks", [1, 2, 51])
@pytest.mark.parametrize("channels", [2, 32])
def test_one_channel_is_appended_and_the_others_stay(num_tasks, channels):
    x, task = torch.randn(3, channels, 2, 3, 4), torch.tensor([0, num_tasks - 1, num_tasks // 2])
    out = run(make_prompt(channels, num_tasks), x, task, torch.randn(num_tasks, TEXT_CHANNELS))
    assert out.shape == (3, channels + 1, 2, 3, 4)
    assert torch.equal(out[:, :channels], x)


def test_2d():
    assert run(make_prompt(8, 3, dim=2), torch.randn(2, 8, 5, 6), torch.tensor([2, 0]), torch.randn(3, TEXT_CHANNELS)).shape == (
        2,
        9,
        5,
        6,
    )


def test_appended_channel_is_that_of_the_samples_task():
    prompt, x, text = make_prompt(8, 4), torch.randn(3, 8, 2, 3, 4), torch.randn(4, TEXT_CHANNELS)
    all_maps = prompt.fuse(torch.cat([x, prompt.modulate(prompt.reduce(x), prompt.modulate.affine(text))], 1))
    out = run(prompt, x, torch.tensor([3, 0, 3]), text)
    for sample, task in enumerate((3, 0, 3)):
        assert torch.equal(out[sample, 8], all_maps[sample, task])
        assert torch.equal(
            out[sample, 8], run(prompt, x, torch.full((3,), task), text)[sample, 8]
        )  # whatever the others' tasks are
    assert not torch.allclose(run(prompt, x, torch.tensor([0, 0, 0]), text)[0, 8], out[0, 8])


def test_task_text_matters_once_its_modulation_has_learned():
    prompt, x, task = make_prompt(8, 4), torch.randn(1, 8, 2, 3, 4), torch.tensor([1])
    torch.nn.init.normal_(prompt.modulate.scale)
    assert not torch.allclose(
        run(prompt, x, task, torch.zeros(4, TEXT_CHANNELS)), run(prompt, x, task, torch.ones(4, TEXT_CHANNELS))
    )
