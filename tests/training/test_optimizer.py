"""AdamW: fused where there is a kernel, the same steps either way, and a training goes on from one in the other."""

import copy

import pytest
import torch

from nnunetv2_cdpd.training.optimizer import ResumableAdamW, adamw


def gradients(steps):
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(parameter.shape, generator=generator) for parameter in make_parameters()] for _ in range(steps)]


def train(optimizer, parameters, some):
    for of_step in some:
        for parameter, gradient in zip(parameters, of_step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


def make_parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 7), (11,))]


def plain(parameters):
    return torch.optim.AdamW(parameters, 1e-2, weight_decay=0.1)


def fused(parameters):
    return adamw(parameters, 1e-2, 0.1)


def test_fused_on_a_cpu_and_plain_where_there_is_no_kernel():
    assert fused(make_parameters()).param_groups[0]["fused"] is True
    without = fused([torch.nn.Parameter(torch.zeros(2, device="meta"))])
    assert without.param_groups[0]["fused"] is None
    for optimizer in (fused(make_parameters()), without):
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (1e-2, 0.1)


def test_steps_are_those_of_the_plain_one():
    of_plain, of_fused = make_parameters(), make_parameters()
    train(plain(of_plain), of_plain, gradients(5))
    train(fused(of_fused), of_fused, gradients(5))
    assert not torch.equal(of_plain[0], make_parameters()[0])
    torch.testing.assert_close(of_fused, of_plain, atol=1e-6, rtol=1e-6)


def without_a_kernel(parameters):
    return ResumableAdamW(parameters, 1e-3)


@pytest.mark.parametrize("before, after", [(plain, fused), (fused, fused), (fused, without_a_kernel)])
def test_a_training_goes_on_as_if_it_had_not_stopped(before, after):
    expected, parameters = make_parameters(), make_parameters()
    train(plain(expected), expected, gradients(6))
    first, second = before(parameters), after(parameters)
    train(first, parameters, gradients(6)[:3])
    state, way = copy.deepcopy(first.state_dict()), second.param_groups[0]["fused"]
    second.load_state_dict(state)
    assert second.param_groups[0]["fused"] is way
    assert (second.param_groups[0]["lr"], second.param_groups[0]["weight_decay"]) == (1e-2, 0.1)  # the checkpoint's
    assert state["param_groups"][0]["fused"] is first.param_groups[0]["fused"]  # which is not changed
    train(second, parameters, gradients(6)[3:])
    torch.testing.assert_close(parameters, expected, atol=1e-6, rtol=1e-6)


def test_a_checkpoint_of_other_weights_is_refused():
    with pytest.raises(ValueError, match="size of optimizer's group"):
        fused(make_parameters()).load_state_dict(fused(make_parameters()[:1]).state_dict())
