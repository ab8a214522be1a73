"""CDPDNet on whatever nnU-Net plans: every combination is built from plans, trained for a step and asked for its logits."""

import pytest
import torch
from builders.model import give_effect
from builders.network import CONFIGURATIONS, PLAIN, RESIDUAL, TINY_VIT, make_network

from nnunetv2_cdpd.network import default_fused_stages, default_slice_step


def network_on(patch, strides, *, unet=PLAIN, channels=1, classes=3, sources=2, slice_axis=0, blocks=1):
    """A narrow network, and a batch of two patches with a task each."""
    stages, fused = len(strides), default_fused_stages(strides)
    CONFIGURATIONS["of this test"] = (patch, strides, unet, channels)
    network = make_network(
        "of this test",
        num_classes=classes,
        features_per_stage=[4, 6, 8, 10, 12, 12, 12, 12][:stages],
        kernel_sizes=[[1 if axis == 0 and step == 1 else 3 for axis, step in enumerate(stride)] for stride in strides],
        task={"prompts": ["t"] * (sources + 1), "universal": True},
        vision={
            **TINY_VIT,
            "slice_axis": slice_axis,
            "slice_step": default_slice_step(strides, fused, slice_axis),
            "intensity_windows": [[-1.0, 1.0]] * channels,
        },
        **{"n_conv_per_stage" if unet == PLAIN else "n_blocks_per_stage": [blocks] * stages},
    )
    x = torch.randn(2, channels, *patch, generator=torch.Generator().manual_seed(1))
    return give_effect(network), x, torch.tensor([0, sources])


def assert_trains_and_answers(network, x, task, classes):
    """Logits of the right shapes with and without deep supervision, finite, and a gradient for everything trained."""
    network.decoder.deep_supervision = True
    outputs = network.train()(x, task)
    size, expected = torch.tensor(x.shape[2:]), []
    for stride in network.encoder.strides[:-1]:
        size = size // torch.tensor(stride)
        expected.append((len(x), classes, *size.tolist()))
    assert [tuple(output.shape) for output in outputs] == expected
    sum(output.square().mean() for output in outputs).backward()
    trained = [(name, parameter.grad) for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert [name for name, gradient in trained if gradient is None or not torch.isfinite(gradient).all()] == []
    network.decoder.deep_supervision = False
    with torch.no_grad():
        logits = network.eval()(x)
    assert logits.shape == expected[0] and torch.isfinite(logits).all()


def halved(stages, dim=3, flat=1):
    """Strides of so many stages; the first axis is halved only after `flat` of them."""
    return [[1] * dim] + [[1 if stage < flat else 2] + [2] * (dim - 1) for stage in range(stages - 1)]


@pytest.mark.parametrize("unet", [PLAIN, RESIDUAL], ids=["plain", "residual"])
@pytest.mark.parametrize(
    "patch, strides",
    [
        ((8, 16, 24), halved(3)),
        ((12, 16, 24), halved(4)),
        ((16, 24, 32), halved(4, flat=0)),
        ((6, 32, 48), halved(5, flat=3)),
        ((4, 64, 96), halved(6, flat=4)),
        ((5, 64, 128), halved(7, flat=6)),
        ((3, 128, 256), halved(8, flat=7)),
        ((32, 16, 24), [[1, 1, 1], [2, 1, 1], [2, 2, 2], [2, 2, 2]]),
        ((24, 40), halved(3, dim=2, flat=0)),
        ((32, 64), halved(5, dim=2, flat=0)),
        ((128, 256), halved(8, dim=2, flat=0)),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else f"{len(value)}-stages",
)
def test_any_patch_and_number_of_stages(patch, strides, unet):
    assert_trains_and_answers(*network_on(patch, strides, unet=unet), classes=3)


@pytest.mark.parametrize("classes", [1, 200])
@pytest.mark.parametrize("sources", [1, 50])
def test_any_number_of_classes_and_sources(classes, sources):
    assert_trains_and_answers(*network_on((8, 16, 24), halved(3), classes=classes, sources=sources), classes=classes)


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("patch, strides", [((8, 16, 24), halved(3)), ((24, 40), halved(3, dim=2, flat=0))], ids=["3d", "2d"])
def test_several_channels(channels, patch, strides):
    assert_trains_and_answers(*network_on(patch, strides, channels=channels), classes=3)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_slices_along_any_axis(slice_axis):
    assert_trains_and_answers(*network_on((8, 16, 24), halved(3, flat=0), slice_axis=slice_axis), classes=3)


def test_a_residual_encoder_as_deep_as_nnunets_presets():
    network, x, task = network_on((8, 32, 32), halved(5, flat=3), unet=RESIDUAL, blocks=6)
    assert_trains_and_answers(network, x, task, classes=3)
