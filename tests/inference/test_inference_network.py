"""PredictionNetwork: the network's own logits, of fewer classes, under any task, with less work."""

import copy

import pytest
import torch
from builders import model as tiny_model
from builders import paper_network

from nnunetv2_cdpd.inference.network import PredictionNetwork, SliceTokens, TaskClasses

pytestmark = pytest.mark.usefixtures("one_thread")

K = len(tiny_model.CLASSES)


def make(seed=0, universal=True):
    """A network and the same one for prediction."""
    plans, dataset_json = tiny_model.make_plans(universal=universal), tiny_model.make_dataset_json()
    network = tiny_model.make_network(plans, dataset_json, seed)
    return network, PredictionNetwork(copy.deepcopy(network))


def patches(batch=2, seed=0):
    return torch.randn(batch, 1, 8, 16, 24, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_all_classes_are_the_networks_own():
    network, prediction = make()
    torch.testing.assert_close(prediction(patches()), network(patches()), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_chosen_heads_are_those_of_all():
    network, prediction = make()
    prediction.choose([TaskClasses(None, (1, 4))])
    torch.testing.assert_close(prediction(patches()), network(patches())[:, [1, 4]], atol=1e-5, rtol=1e-5)
    prediction.choose([TaskClasses(None, (5,))])
    assert prediction(patches()).shape == (2, 1, 8, 16, 24)


@torch.inference_mode()
def test_a_task_is_the_networks():
    network, prediction = make()
    prediction.choose([TaskClasses(1, (0, 2, 3))])
    expected = network(patches(), torch.tensor(1))[:, [0, 2, 3]]
    torch.testing.assert_close(prediction(patches()), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, network(patches())[:, [0, 2, 3]], atol=1e-3)


@torch.inference_mode()
def test_without_a_universal_task_a_class_is_the_mean_over_its_tasks():
    network, prediction = make(universal=False)
    prediction.choose([TaskClasses(0, (0, 1)), TaskClasses(2, (5, 0))])
    by_task = [network(patches(), torch.tensor(task)) for task in range(3)]
    expected = torch.stack([(by_task[0][:, 0] + by_task[2][:, 0]) / 2, by_task[0][:, 1], by_task[2][:, 5]], 1)
    torch.testing.assert_close(prediction(patches()), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_papers_network_gives_its_own_logits_with_and_without_task():
    # in double precision: instance norm over the few voxels of the bottleneck enlarges rounding
    network = paper_network.make_network().double().eval()
    prediction, x = PredictionNetwork(copy.deepcopy(network)), torch.rand(1, 1, *paper_network.PATCH, dtype=torch.double)
    annotated = paper_network.paper_arch_kwargs()["task"]["annotated_classes"]
    prediction.choose([TaskClasses(task, tuple(classes)) for task, classes in enumerate(annotated)])
    torch.testing.assert_close(prediction(x), network(x))
    prediction.choose([TaskClasses(4, (1, 2, 25))])
    torch.testing.assert_close(prediction(x), network(x, torch.tensor([4]))[:, [1, 2, 25]])


@torch.inference_mode()
def test_text_terms_are_computed_once_per_set_of_weights():
    _, prediction = make()
    projections = []
    prediction.network.class_text.project.register_forward_hook(lambda *_: projections.append(1))
    first = prediction(patches())
    prediction(patches())
    assert len(projections) == 1
    other = make(seed=1)[0]
    weights = other.state_dict()
    prediction.load_state_dict(weights)
    torch.testing.assert_close(prediction(patches()), other(patches()), atol=1e-5, rtol=1e-5)
    prediction.load_state_dict(weights)  # nnU-Net does before every volume
    prediction(patches())
    assert len(projections) == 2
    assert not torch.allclose(first, prediction(patches()), atol=1e-3)


@torch.inference_mode()
def test_another_fold_keeps_the_tokens_of_the_same_encoder():
    network, prediction = make()
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    prediction.load_state_dict(weights)
    prediction(patches())
    encoded = prediction.slice_tokens.encoded
    fold = {key: value if key.startswith("slice_encoder.") else value * 1.1 for key, value in weights.items()}
    prediction.load_state_dict(fold)
    network.load_state_dict(fold)
    torch.testing.assert_close(prediction(patches()), network(patches()), atol=1e-5, rtol=1e-5)
    assert prediction.slice_tokens.encoded == encoded

    other = {key: value * 1.1 if key.startswith("slice_encoder.vit") else value for key, value in weights.items()}
    prediction.load_state_dict(other)
    network.load_state_dict(other)
    torch.testing.assert_close(prediction(patches()), network(patches()), atol=1e-5, rtol=1e-5)
    assert prediction.slice_tokens.encoded == 2 * encoded


@torch.inference_mode()
def test_terms_follow_the_network_when_it_moves():
    network, prediction = make()
    prediction(patches())
    moved = prediction.double()
    torch.testing.assert_close(moved(patches().double()), network.double()(patches().double()))


@torch.inference_mode()
def test_overlapping_windows_encode_their_common_slices_once():
    network, prediction = make()
    volume = patches(seed=3)[:1].repeat(1, 1, 3, 1, 1) + torch.arange(24).view(1, 1, -1, 1, 1) / 50
    step = network.slice_encoder.slice_step
    assert 4 % step == 0
    for start in (0, 4, 8):  # windows of 8 slices
        window = volume[:, :, start : start + 8]
        torch.testing.assert_close(prediction(window), network(window), atol=1e-4, rtol=1e-4)
    tokens = prediction.slice_tokens
    assert (tokens.asked, tokens.encoded) == (24 // step, 16 // step)


@torch.inference_mode()
def test_slices_that_are_alike_are_encoded_once():
    network, prediction = make()
    window = torch.zeros(1, 1, 8, 16, 24)
    torch.testing.assert_close(prediction(window), network(window), atol=1e-5, rtol=1e-5)
    assert prediction.slice_tokens.encoded == 1


def test_one_changed_pixel_is_another_slice():
    tokens = SliceTokens(lambda images: [images.mean(1, keepdim=True)])
    images = torch.rand(3, 3, 4, 5)
    changed = images.clone()
    changed[1, 2, 3, 4] += 1e-6
    (first,), (second,) = tokens(images), tokens(changed)
    assert tokens.encoded == 4
    assert torch.equal(first, images.mean(1, keepdim=True)) and torch.equal(second, changed.mean(1, keepdim=True))


def test_images_of_other_sizes_are_others():
    tokens = SliceTokens(lambda images: [images[:, :1]])
    assert tokens(torch.zeros(1, 3, 4, 6))[0].shape == (1, 1, 4, 6)
    assert tokens(torch.zeros(1, 3, 6, 4))[0].shape == (1, 1, 6, 4)


@pytest.mark.parametrize("dtype", [torch.half, torch.float32, torch.float64])
def test_tokens_longest_unused_are_forgotten(dtype):
    tokens = SliceTokens(lambda images: [images, 2 * images], max_bytes=4 * 2 * 60 * torch.finfo(dtype).bits // 8)
    images = torch.rand(6, 3, 4, 5).to(dtype)
    assert len(tokens(images)) == 2 and len(tokens._known) == 4
    assert torch.equal(tokens(images)[1], 2 * images)
    assert tokens.encoded == 6 + 2 and tokens._bytes == tokens.max_bytes
