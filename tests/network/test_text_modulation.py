"""PromptEmbeddings and TextModulation: values, gradients, growth, and the paper's variant."""

import pytest
import torch

from nnunetv2_cdpd.network.text_modulation import TEXT_CHANNELS, PromptEmbeddings, TextModulation
from nnunetv2_cdpd.released.network import PaperTextModulation


def test_every_prompt_adds_its_own_scale_and_shift():
    modulation = TextModulation(num_prompts=2, channels=3, text_channels=1)
    with torch.no_grad():
        modulation.scale.copy_(torch.tensor([[[1.0], [0.0]], [[0.0], [2.0]], [[1.0], [1.0]]]))
        modulation.shift[0] = 5
    scale, shift = modulation.affine(torch.tensor([[0.5], [0.25]]))
    assert scale.tolist() == [1.5, 1.5, 1.75] and shift.tolist() == [3.75, 0, 0]
    out = modulation(torch.ones(2, 3, 4, 5, 6), modulation.affine(torch.tensor([[0.5], [0.25]])))
    assert out[1, :, 3, 4, 5].tolist() == [5.25, 1.5, 1.75]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_features_keep_their_precision(dtype):
    modulation = TextModulation(2, 3, 4).to(torch.float64 if dtype == torch.float64 else torch.float32)
    text = torch.randn(2, 4, dtype=modulation.scale.dtype)
    assert modulation(torch.randn(1, 3, 4, 5, dtype=dtype), modulation.affine(text)).dtype == dtype


def test_gradients_are_right():
    modulation = TextModulation(2, 3, 4).double()
    torch.nn.init.normal_(modulation.scale)
    x, text = (
        torch.randn(2, 3, 2, 3, dtype=torch.double, requires_grad=True),
        torch.randn(2, 4, dtype=torch.double, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda x, text: modulation(x, modulation.affine(text)), (x, text))


def test_modulation_starts_as_the_identity_and_learns():
    modulation, text = TextModulation(3, 5), torch.randn(3, TEXT_CHANNELS)
    x = torch.randn(2, 5, 3, 4, 6)
    assert torch.equal(modulation(x, modulation.affine(text)), x)
    modulation(x, modulation.affine(text)).square().sum().backward()
    assert modulation.scale.grad.abs().sum() > 0 and modulation.shift.grad.abs().sum() > 0


def test_prompts_can_be_added_without_changing_what_was_learned():
    """New prompts get zero weights behind the learned ones."""
    old, new = TextModulation(3, 5), TextModulation(4, 5)
    torch.nn.init.normal_(old.scale), torch.nn.init.normal_(old.shift)
    with torch.no_grad():
        new.scale[:, :3], new.shift[:, :3] = old.scale, old.shift
    text, x = torch.randn(4, TEXT_CHANNELS), torch.randn(1, 5, 3, 4)
    torch.testing.assert_close(new(x, new.affine(text)), old(x, old.affine(text[:3])))


def test_embeddings_are_fixed_unless_learned():
    fixed, learned = (PromptEmbeddings(3, 8, learned=flag) for flag in (False, True))
    assert not fixed.embeddings.requires_grad and not fixed.embeddings_set
    assert learned.embeddings.requires_grad and learned.embeddings_set
    assert fixed.state_dict().keys() == learned.state_dict().keys()


def test_fixed_embeddings_stay_and_their_projection_learns():
    prompts = PromptEmbeddings(3, 8, learned=False)
    prompts.set(torch.randn(3, 8))
    prompts().sum().backward()
    assert prompts.embeddings.grad is None and prompts.project[0].weight.grad is not None
    learned = PromptEmbeddings(3, 8, learned=True)
    learned().square().sum().backward()
    assert learned.embeddings.grad.abs().sum() > 0


def test_embeddings_of_another_width_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"must be \(3, 8\) \(prompts, width\), got \(3, 7\)"):
        PromptEmbeddings(3, 8, learned=False).set(torch.zeros(3, 7))


def test_paper_scale_starts_around_zero_with_a_bias():
    torch.manual_seed(0)
    modulation = PaperTextModulation(4, 50, 16)
    scale, shift = modulation.affine(torch.zeros(4, 16))
    assert torch.equal(scale, modulation.scale_bias) and torch.equal(shift, modulation.shift_bias)
    xavier = (6 / (4 * 16 + 50)) ** 0.5
    assert 0.9 * xavier < modulation.scale.abs().max() <= xavier
    assert modulation.scale_bias.abs().max() <= (4 * 16) ** -0.5


def test_which_class_an_embedding_belongs_to_is_nothing_to_the_network():
    """Every prompt has weights of its own, zero at first: another order of embeddings is learned as another order of weights."""
    embeddings, order = torch.randn(4, 6), torch.tensor([2, 3, 1, 0])
    x, wanted = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    after = []
    for given in (embeddings, embeddings[order]):
        torch.manual_seed(0)
        text, modulation = PromptEmbeddings(4, 6, learned=False), TextModulation(4, 5)
        text.set(given)
        optimizer = torch.optim.AdamW([*text.project.parameters(), *modulation.parameters()], lr=0.01)
        for _ in range(5):
            loss = (modulation(x, modulation.affine(text())) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after.append((modulation(x, modulation.affine(text())), modulation.scale))
    (one, scale), (other, other_scale) = after
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(scale[:, order], other_scale)
    assert scale.abs().max() > 0
