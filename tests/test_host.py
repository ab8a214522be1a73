"""What is exchanged inside nnU-Net is still there and still used; run against another nnunetv2 with -m host."""

import importlib
import sys

import pytest

from nnunetv2_cdpd import host
from nnunetv2_cdpd.errors import UserError

TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"


@pytest.mark.host
@pytest.mark.parametrize("exchange", host.EXCHANGES, ids=lambda exchange: exchange.__name__)
def test_nnunet_still_uses_what_is_exchanged(exchange):
    with exchange(lambda *args, **kwargs: None):
        pass


def test_the_host_sees_the_replacement_and_has_its_own_back_afterwards():
    module = importlib.import_module(TRAINER)
    own = module.nnUNetDataLoader
    with pytest.raises(KeyError), host.data_loader("ours"):
        assert module.nnUNetDataLoader == "ours"
        raise KeyError
    assert module.nnUNetDataLoader is own


@pytest.mark.parametrize(
    "use",
    [
        (TRAINER, "nnUNetTrainer.get_dataloaders", "nnUNetDataLoader3D"),  # renamed
        (TRAINER, "nnUNetTrainer.initialize", "nnUNetDataLoader"),  # used elsewhere
        (TRAINER, "nnUNetTrainer.make_dataloaders", "nnUNetDataLoader"),  # its user renamed
        ("nnunetv2.training.loaders", "get_dataloaders", "nnUNetDataLoader"),  # the module moved
    ],
)
def test_what_a_release_moved_is_named_together_with_what_has_to_be_changed(use):
    told = rf"nnU-Net \S+ has no {use[2]} .*host.data_loader has to be changed"
    with pytest.raises(UserError, match=told), host._exchanged("data_loader", None, use):
        pass


def test_arguments_are_lent_for_one_call_and_defaults_only_where_none_are_given():
    own = list(sys.argv)
    with host.lent_arguments("cdpd train", ["820", "-p=Plans"], tr="Ours", p="Other"):
        assert sys.argv == ["cdpd train", "820", "-p=Plans", "-tr", "Ours"]
    assert sys.argv == own
