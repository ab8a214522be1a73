"""Extensions of a network: former logits bit by bit, further ones within what the former allow, in every kind of network."""

import pytest
import torch
from builders.extended_network import FREE, extended, settings
from builders.network import CONFIGURATIONS, K, patch_for


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_former_logits_are_the_same_bit_by_bit(configuration):
    network, former = extended(configuration)
    x = patch_for(configuration)
    with torch.inference_mode():
        logits, before = network(x), former(x)
    assert logits.shape[1] == K + 1
    assert torch.equal(logits[:, :K], before)
    assert logits[:, K].std() > 0


def test_a_network_that_reads_no_text_and_has_no_tasks_is_extended_too():
    network, former = extended(text={"modulate": False}, task=None, vision=None)
    assert network.all_extensions[0].text_terms() == ()
    x = patch_for()
    with torch.inference_mode():
        assert torch.equal(network(x)[:, :K], former(x))


def test_a_second_extension_leaves_the_first_as_it_is():
    first = settings([0, 3], 4)
    one, _ = extended(extensions=[first])
    second = settings([K], 4)
    two, _ = extended(extensions=[first, second], former=one)
    x = patch_for()
    with torch.inference_mode():
        logits, before = two(x), one(x)
    assert torch.equal(logits[:, [0, 1, 2, 3, 4, 6, 7]], before)
    assert one.own_classes == [1, 2, 4, 5, 6]
    assert two.own_classes == [1, 2, 4, 6, 7]


def test_with_deep_supervision_each_output_has_all_classes():
    network, former = extended()
    network.decoder.deep_supervision = former.decoder.deep_supervision = True
    with torch.inference_mode():
        for logits, before in zip(network(patch_for()), former(patch_for()), strict=True):
            assert torch.equal(logits[:, :K], before)


def test_the_task_of_a_new_source_is_the_universal_one_to_the_former_classes():
    network, former = extended()
    x = patch_for()
    with torch.inference_mode():
        under_new, universal = network(x, torch.tensor(2)), network(x)  # tasks: two sources, the new one, the universal one
        assert (network.num_tasks, network.universal_task) == (4, 3)
        assert torch.equal(under_new, universal)
        assert torch.equal(network(x, torch.tensor(1))[:, :K], former(x, torch.tensor(1)))


def test_further_classes_keep_within_what_former_ones_allow():
    limits = [{"apart": [0, 1], "within": [], "holds": []}, {"apart": [], "within": [[2], [3, 4]], "holds": []}]
    limits.append({"apart": [0], "within": [], "holds": [4]})
    network, _ = extended(extensions=[settings([5, 6, 7], 4, limits)])
    torch.nn.init.normal_(network.decoder.seg_layers[-1].weight, std=3)
    torch.nn.init.normal_(network.all_extensions[0].decoder.seg_layers[-1].weight, std=3)
    with torch.inference_mode():
        logits = network(patch_for())
    former, (apart, within, holds) = logits[:, :5], logits[:, 5:].unbind(1)
    assert not ((apart > 0) & (former[:, :2] > 0).any(1)).any()
    assert (apart > 0).any()
    assert (within <= former[:, 2]).all()
    assert (within <= former[:, 3:].amax(1)).all()
    assert (holds >= former[:, 4]).all()


def test_a_mean_over_windows_keeps_within_the_limits():
    limits = [{"apart": [0, 1, 2], "within": [], "holds": []}]
    network, _ = extended(extensions=[settings([5], 4, limits)])
    torch.nn.init.normal_(network.decoder.seg_layers[-1].weight, std=3)
    torch.nn.init.normal_(network.all_extensions[0].decoder.seg_layers[-1].weight, std=3)
    with torch.inference_mode():
        mean = torch.stack([network(patch_for(seed=seed, batch=1)) for seed in range(4)]).mean(0)
    assert not ((mean[:, 5] > 0) & (mean[:, :3] > 0).any(1)).any()


def test_one_place_and_one_entry_of_limits_for_each_class():
    with pytest.raises(ValueError, match="got 1 and 2 for 1"):
        extended(extensions=[settings([5], 4, [FREE, FREE])])
