"""HalfWeights: what autocast gives, bit by bit, without casting the weights again; and never those of other weights."""

import pickle
from copy import deepcopy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nnunetv2_cdpd.network.half_weights import HalfWeights, autocast_dtype, cast_by_autocast
from nnunetv2_cdpd.network.slice_encoder import SliceEncoder
from nnunetv2_cdpd.released.network import PaperSliceEncoder

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}
NUM_LAYERS = 1 + 2 * 4  # patch embedding; query-key-value, projection and two of the MLP in every block


class WeightCasts(TorchDispatchMode):
    """Counts the single-precision weights that are cast."""

    def __init__(self, module):
        super().__init__()
        self.weights = {id(weight) for weight in cast_by_autocast(module).values()}
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation is torch.ops.aten._to_copy.default and id(args[0]) in self.weights
        return operation(*args, **(kwargs or {}))


def make_encoder(encoder_class=SliceEncoder, seed=0, model_name="vit_tiny_patch16_224"):
    torch.manual_seed(seed)
    encoder = encoder_class(model_name, num_maps=2, intensity_windows=[[-1.0, 3.0]], model_kwargs=TINY)
    encoder.bfloat16_on_cpu = False
    return encoder


def patch():
    return torch.randn(1, 1, 14, 33, 50, generator=torch.Generator().manual_seed(2))


def by_autocast(encoder, x):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return encoder.token_maps(encoder.images(x))


def maps_of(encoder, x):
    with torch.autocast("cpu", torch.bfloat16):
        return [grid.transpose(1, 2).flatten(0, 1) for grid in encoder(x)]


def assert_those_of_autocast(encoder):
    for kept, expected in zip(maps_of(encoder, patch()), by_autocast(encoder, patch()), strict=True):
        assert kept.dtype == expected.dtype and torch.equal(kept, expected)


@pytest.mark.parametrize(
    "encoder_class, model_name",
    [
        (SliceEncoder, "vit_tiny_patch16_224"),
        (PaperSliceEncoder, "vit_tiny_patch16_224"),
        (SliceEncoder, "vit_small_patch16_dinov3.lvd1689m"),  # its biases of query and value stand beside its layers
    ],
)
def test_maps_are_those_of_autocast_bit_by_bit(encoder_class, model_name):
    assert_those_of_autocast(make_encoder(encoder_class, model_name=model_name))


def test_weights_are_cast_once():
    encoder = make_encoder()
    assert len(cast_by_autocast(encoder.vit)) == 2 * NUM_LAYERS
    counts = []
    for _ in range(3):
        with WeightCasts(encoder.vit) as casts:
            maps_of(encoder, patch())
        counts.append(casts.count)
    assert counts == [2 * NUM_LAYERS, 0, 0]


def test_a_cpu_with_bfloat16_uses_them_without_being_asked():
    encoder = make_encoder()
    encoder.bfloat16_on_cpu = True
    encoder(patch())
    with WeightCasts(encoder.vit) as casts:
        encoder(patch())
    assert casts.count == 0


def test_without_autocast_nothing_is_cast():
    encoder = make_encoder()
    with WeightCasts(encoder.vit) as casts:
        assert encoder(patch())[0].dtype == torch.float32
    assert casts.count == 0


OTHER_WEIGHTS = {
    "state dict": lambda encoder, other: encoder.load_state_dict(other.state_dict()),
    "state dict of the ViT": lambda encoder, other: encoder.vit.load_state_dict(other.vit.state_dict()),
    "assigned": lambda encoder, other: encoder.load_state_dict(other.state_dict(), assign=True),
    "written": lambda encoder, other: torch._foreach_copy_(list(encoder.parameters()), list(other.parameters())),
    "another ViT": lambda encoder, other: setattr(encoder, "vit", other.vit),
    "moved": lambda encoder, other: encoder.double().float(),
}


@pytest.mark.parametrize("how", OTHER_WEIGHTS)
def test_other_weights_are_cast_anew(how):
    encoder, other = make_encoder(), make_encoder(seed=1)
    before = maps_of(encoder, patch())
    OTHER_WEIGHTS[how](encoder, other)
    assert_those_of_autocast(encoder)
    assert torch.equal(maps_of(encoder, patch())[0], before[0]) == (how == "moved")


def test_state_and_copies_hold_single_precision_alone():
    encoder, plain = make_encoder(), make_encoder()
    maps_of(encoder, patch())
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in encoder.state_dict().items())
    assert all(type(parameter) is torch.nn.Parameter and parameter.dtype == torch.float32 for parameter in encoder.parameters())
    size = len(pickle.dumps(plain))
    assert len(pickle.dumps(encoder)) < 1.01 * size
    for copy in (deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert not copy.half_weights._copies
        assert_those_of_autocast(copy)


def test_weights_are_back_after_an_error():
    encoder = make_encoder()

    def fails(images):
        assert encoder.vit.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"), torch.autocast("cpu", torch.bfloat16):
        encoder(patch(), fails)
    assert encoder.vit.blocks[0].mlp.fc1.weight.dtype == torch.float32
    assert_those_of_autocast(encoder)


def test_prediction_before_training_and_another_precision():
    encoder = make_encoder()
    with torch.inference_mode():
        maps_of(encoder, patch())
    assert not any(copy.is_inference() for copy in encoder.half_weights._copies.values())
    with torch.autocast("cpu", torch.float16):
        encoder(patch())
    assert {copy.dtype for copy in encoder.half_weights._copies.values()} == {torch.float16}
    assert_those_of_autocast(encoder)


def test_trained_weights_are_left_to_autocast():
    layer, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        (out,) = HalfWeights().call(layer, lambda images: [layer(images)], x)
    out.float().sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(2, 3), atol=1e-2, rtol=1e-2)


def test_devices_without_autocast_are_no_error():
    with torch.autocast("cpu", torch.bfloat16):
        assert (autocast_dtype("cpu"), autocast_dtype("meta")) == (torch.bfloat16, None)
    assert autocast_dtype("cpu") is None
